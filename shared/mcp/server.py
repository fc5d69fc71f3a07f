"""`POST /mcp`: answers the requests of the Model Context Protocol.

No request needs another one: there is no session, whatever the revision. What the protocol does not
allow is a JSON-RPC error. What a tool refuses, as its route would, is a result with `isError` and
the problem document, from which a model can see what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from time import perf_counter
from typing import Any

from ..documents import JsonObject
from ..http.action_audit import EndedAction
from ..http.answers import Answer, Streamed, accepts_events
from ..http.faces import Face
from ..http.request import Incoming
from ..http.serve import Edge, problem_answer
from ..openapi import API_VERSION
from ..text import to_json_bytes
from .jsonrpc import (
    Fault,
    Message,
    RpcError,
    error_json,
    json_answer,
    member,
    read_message,
    result_json,
)
from .origins import Origins
from .progress import CallStream
from .revisions import INITIALIZE, META_SERVER, STATELESS, SUPPORTED, WITH_HANDSHAKE, revision_of
from .tools import BY_NAME, TOOLS, Parts, Tool

MCP = Face("mcp")

NAME, TITLE = "agent-operating-system", "Agent Operating System"
SERVER = {"name": NAME, "title": TITLE, "version": API_VERSION}
CAPABILITIES: JsonObject = {"tools": {}}

INSTRUCTIONS = (
    "Ask Azure AI Foundry agents, continue conversations as threads, and submit work as jobs, "
    "which go on after the call has ended. Everything belongs to the caller and counts "
    "against the caller's budgets."
)

CACHED = {"ttlMs": 300_000, "cacheScope": "public"}
"""The tools are the same for every caller, and change with the version of the app only."""

COPIED_HEADERS = ("Idempotency-Replayed", "x-budget-warning", "Retry-After")
"""Of a tool's answer, for proxies and logs; models see the members of the answer."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """The handler of `/mcp`."""

    edge: Edge
    parts: Parts
    origins: Origins

    async def post(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a request; a notification changes nothing, and is accepted."""
        self.origins.check(incoming.request)
        content = await incoming.content()
        message: Message | None = None
        stateless = True
        try:
            message = read_message(content)
            if message.id is None:
                return Answer(None, HTTPStatus.ACCEPTED)
            revision = revision_of(message, incoming.request.headers)
            stateless = revision == STATELESS
            return await self._answer(_Request(message, revision), incoming)
        except RpcError as error:
            request_id = message.id if message else error.request_id
            return json_answer(error_json(request_id, error), _status(error, stateless=stateless))

    async def _answer(self, request: _Request, incoming: Incoming) -> Answer | Streamed:
        message = request.message
        if message.method == "tools/call":
            return await self._call(request, incoming)
        answer = METHODS.get((message.method, request.is_stateless))
        if answer is None:
            raise RpcError(Fault.METHOD_NOT_FOUND, "There is no such method.")
        return json_answer(request.result(answer(message)))

    async def _call(self, request: _Request, incoming: Incoming) -> Answer | Streamed:
        """Call a tool, and record it as its route would."""
        message, started = request.message, perf_counter()
        tool, arguments = _tool(message), member(message.params, "arguments")
        stream = CallStream(request.tool_result, message.progress_token)
        takes_stream = accepts_events(incoming.request)
        error: Exception | None = None
        try:
            call = tool.call(incoming, arguments, stream.encode if takes_stream else None)
            answer = await tool.run(self.parts, call)
        except Exception as caught:  # noqa: BLE001 - the border of a tool: an error is its result
            error = caught
            answer = problem_answer(error, incoming.request_id)
        if isinstance(answer, Streamed):
            return answer
        seconds, now = perf_counter() - started, self.edge.clock()
        ended = EndedAction(tool.action, arguments, answer, error, now, seconds)
        self.edge.end(incoming, ended)
        headers = {name: answer.headers[name] for name in COPIED_HEADERS if name in answer.headers}
        return json_answer(request.tool_result(answer), headers=headers)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request and the revision by which it is answered."""

    message: Message
    revision: str

    @property
    def is_stateless(self) -> bool:
        return self.revision == STATELESS

    def result(self, result: Mapping[str, Any]) -> JsonObject:
        """The JSON-RPC answer with a result."""
        if self.is_stateless:
            result = {"resultType": "complete", **result, "_meta": {META_SERVER: SERVER}}
        return result_json(self.message, result)

    def tool_result(self, answer: Answer) -> JsonObject:
        """The JSON-RPC answer to a call, of what its route would answer.

        A problem is text only: clients check structured content by the schema of the tool.
        """
        body = answer.body or {}
        failed = answer.status >= HTTPStatus.BAD_REQUEST
        content = [{"type": "text", "text": to_json_bytes(body).decode()}]
        structured = {} if failed else {"structuredContent": body}
        return self.result({"content": content, **structured, "isError": failed})


def _tool(message: Message) -> Tool:
    name = message.params.get("name")
    tool = BY_NAME.get(name) if isinstance(name, str) else None
    if tool is None:
        known = ", ".join(BY_NAME)
        raise RpcError(Fault.INVALID_PARAMS, f"There is no such tool; there are {known}.")
    return tool


def _status(error: RpcError, *, stateless: bool) -> HTTPStatus:
    """The HTTP status of an error.

    Clients of earlier revisions read a JSON-RPC error only from an answer with 200.
    """
    answers = {Fault.METHOD_NOT_FOUND, Fault.INVALID_PARAMS}
    return HTTPStatus.OK if error.fault in answers and not stateless else error.fault.status


def _discover(_: Message) -> JsonObject:
    about: JsonObject = {"capabilities": CAPABILITIES, "instructions": INSTRUCTIONS}
    return {"supportedVersions": list(SUPPORTED), **about, **CACHED}


def _initialize(message: Message) -> JsonObject:
    """Settle on the client's revision, or on the newest that begins like this."""
    asked = message.params.get("protocolVersion")
    revision = asked if asked in WITH_HANDSHAKE else WITH_HANDSHAKE[0]
    return {
        "protocolVersion": revision,
        "capabilities": CAPABILITIES,
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
    }


def _ping(_: Message) -> JsonObject:
    return {}


@cache
def _tools() -> list[JsonObject]:
    from .schemas import listed

    return listed(TOOLS)


def _list(message: Message) -> JsonObject:
    if message.params.get("cursor") is not None:
        raise RpcError(Fault.INVALID_PARAMS, "There is one page of tools, and no cursor.")
    return {"tools": _tools()}


def _list_cached(message: Message) -> JsonObject:
    return {**_list(message), **CACHED}


METHODS: Mapping[tuple[str, bool], Callable[[Message], JsonObject]] = {
    ("server/discover", True): _discover,
    ("tools/list", True): _list_cached,
    (INITIALIZE, False): _initialize,
    ("ping", False): _ping,
    ("tools/list", False): _list,
}
"""By method, and whether it is of a revision without `initialize`."""
