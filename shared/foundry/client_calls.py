"""Functions that the caller runs: their definitions, and the calls of them in a turn.

A call of one ends the turn and is handed over in its result. Until it has an output, Foundry
refuses every later message of the conversation, so one that the caller leaves out is refused by us.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/function-calling
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..text import to_json_bytes, to_utf8
from .errors import InvalidRequestError, StreamInterruptedError
from .events import ClientCallDelta, ClientCallFinished, ClientCallStarted, Emit
from .models import (
    Approval,
    ClientCall,
    ClientTools,
    RequestKind,
    ToolRequest,
    TurnRequest,
)
from .tools.calls import FunctionCall
from .tools.catalogue import parse_tool, parse_tool_choice
from .tools.unanswered import APPROVAL_REQUEST, approval
from .wire_json import JsonObject, object_at, text_at

MAX_CLIENT_TOOLS = 128
"""As many as an agent has at most."""

MAX_DEFINITION_BYTES = 512 * 1024
"""Of all definitions together, as JSON; the tools of a coding agent have about 40 KB."""

MAX_OUTPUTS = 128
MAX_OUTPUT_BYTES = 1024 * 1024
"""Of all outputs together, as long as a message."""

INVALID_TOOLS = "invalid_tools"

CANCELLED = '{"error":"cancelled by caller"}'
"""The output of a call that the caller leaves without one."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FIELDS = ("type", "name", "description", "parameters", "strict")
_CONSENT_REQUEST = "oauth_consent_request"


def client_tools(
    definitions: Sequence[Mapping[str, Any]],
    choice: str | Mapping[str, Any] | None = None,
    *,
    parallel: bool | None = None,
) -> ClientTools:
    """Functions that the caller runs, from their definitions in the form of the Responses API.

    Unknown fields are dropped; missing `parameters` become an empty object schema.

    Raises:
        InvalidRequestError: `invalid_tools`, saying what is wrong with them.
    """
    try:
        return _checked(definitions, choice, parallel)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, code=INVALID_TOOLS) from error


def _checked(
    definitions: Sequence[Mapping[str, Any]],
    choice: str | Mapping[str, Any] | None,
    parallel: bool | None,
) -> ClientTools:
    if len(definitions) > MAX_CLIENT_TOOLS:
        raise InvalidRequestError(f"tools has at most {MAX_CLIENT_TOOLS} functions.")
    known = tuple(map(_definition, definitions))
    if sum(len(to_json_bytes(each)) for each in known) > MAX_DEFINITION_BYTES:
        raise InvalidRequestError(f"tools has at most {MAX_DEFINITION_BYTES} bytes as JSON.")
    tools = ClientTools(known, None if choice is None else parse_tool_choice(choice), parallel)
    if len(tools.names) < len(known):
        raise InvalidRequestError("tools has two functions with one name.")
    if isinstance(tools.choice, dict) and tools.choice.get("type") == "function":
        _check_named(tools, str(tools.choice["name"]))
    return tools


def _definition(given: Mapping[str, Any]) -> JsonObject:
    if given.get("type") != "function":
        raise InvalidRequestError("A tool that the caller runs has the type 'function'.")
    fields = {name: given[name] for name in _FIELDS if given.get(name) is not None}
    definition = parse_tool({"parameters": {"type": "object", "properties": {}}, **fields})
    if not _NAME.fullmatch(definition["name"]):
        raise InvalidRequestError(
            "The name of a function has 1 to 128 letters, digits, '_' and '-'."
        )
    return definition


def _check_named(tools: ClientTools, name: str) -> None:
    if name not in tools.names:
        raise InvalidRequestError(f"tool_choice names the function '{name[:128]}', not in tools.")


def check_said(request: TurnRequest) -> None:
    """Check that a request says something, and that its outputs are within the limits.

    Raises:
        InvalidRequestError: if not.
    """
    answers = request.outputs or request.approvals
    if not (request.message or request.parts or request.preceding or answers):
        raise InvalidRequestError("message must not be empty.")
    if max(len(request.outputs), len(request.approvals)) > MAX_OUTPUTS:
        raise InvalidRequestError(f"A message has at most {MAX_OUTPUTS} outputs or approvals.")
    texts = [
        *(output.output for output in request.outputs),
        *(answer.reason or "" for answer in request.approvals),
    ]
    if sum(map(len, map(to_utf8, texts))) > MAX_OUTPUT_BYTES:
        raise InvalidRequestError(f"The outputs have at most {MAX_OUTPUT_BYTES} bytes together.")


def answer_items(request: TurnRequest) -> list[JsonObject]:
    """The caller's outputs and approvals as input items."""
    outputs = [output.to_item() for output in request.outputs]
    return [*outputs, *map(_approval_item, request.approvals)]


def _approval_item(answer: Approval) -> JsonObject:
    item = approval(answer.id, approved=answer.approve)
    return {**item, "reason": answer.reason} if answer.reason else item


def client_call(item: JsonObject) -> ClientCall:
    """The call in a `function_call` item.

    Raises:
        ProtocolError: if it has no call id or no name.
    """
    call = FunctionCall.from_item(item)
    return ClientCall(call.call_id, call.name, call.arguments)


def approval_requests(items: Iterable[JsonObject]) -> list[ToolRequest]:
    """The requests for approval among the items that the caller is to answer."""
    return [
        ToolRequest(
            id=str(item.get("id")),
            kind=RequestKind.APPROVAL,
            server=text_at(item, "server_label") or "",
            tool=text_at(item, "name"),
            arguments=text_at(item, "arguments"),
        )
        for item in items
        if item.get("type") == APPROVAL_REQUEST
    ]


def consent_requests(items: Iterable[JsonObject]) -> list[ToolRequest]:
    """The requests for consent among the output items of a response."""
    return [
        ToolRequest(
            id=str(item.get("id")),
            kind=RequestKind.CONSENT,
            server=text_at(item, "server_label") or "",
            link=_web_link(text_at(item, "consent_link")),
        )
        for item in items
        if item.get("type") == _CONSENT_REQUEST
    ]


def _web_link(link: str | None) -> str | None:
    """A link that a page may show; one with another scheme could run a script there."""
    return link if link and link.lower().startswith("https://") else None


class CallFeed:
    """Emits the calls of the caller's functions piece by piece, as the model writes them."""

    def __init__(self, names: frozenset[str], emit: Emit) -> None:
        self._names = names
        self._emit = emit
        self._call_ids: dict[str, str] = {}
        """By the id of the call's item."""
        self._written: dict[str, str] = {}
        """The arguments emitted so far, by call id."""
        self._finished: set[str] = set()

    def take(self, event: JsonObject) -> bool:
        """Emit what an event of the service adds to a call; False if it adds nothing to any."""
        match event["type"]:
            case "response.output_item.added":
                return self._added(object_at(event, "item"))
            case "response.function_call_arguments.delta":
                return self._delta(str(event.get("item_id")), str(event.get("delta", "")))
            case "response.output_item.done":
                return self._done(object_at(event, "item"))
            case _:
                return False

    def _added(self, item: JsonObject) -> bool:
        call_id, name = text_at(item, "call_id"), text_at(item, "name")
        if item.get("type") != "function_call" or not call_id or name not in self._names:
            return False
        self._call_ids[str(item.get("id"))] = call_id
        self.begin(call_id, name)
        return True

    def _delta(self, item_id: str, piece: str) -> bool:
        call_id = self._call_ids.get(item_id)
        if call_id is not None:
            self.add(call_id, piece)
        return call_id is not None

    def _done(self, item: JsonObject) -> bool:
        if str(item.get("id")) not in self._call_ids or item.get("type") != "function_call":
            return False
        self._finish(client_call(item))
        return True

    def begin(self, call_id: str, name: str) -> None:
        """Emit that a call begins, once."""
        if call_id not in self._written:
            self._written[call_id] = ""
            self._emit(ClientCallStarted(call_id, name))

    def add(self, call_id: str, piece: str) -> None:
        """Emit a piece of the arguments of a call that has begun."""
        if piece:
            self._written[call_id] += piece
            self._emit(ClientCallDelta(call_id, piece))

    def catch_up(self, call_id: str, arguments: str) -> None:
        """Emit what is new in the arguments of a call that has begun."""
        self.add(call_id, arguments.removeprefix(self._written[call_id]))

    def finish(self, calls: Iterable[ClientCall]) -> None:
        """Emit what is still missing of a turn's calls.

        Raises:
            StreamInterruptedError: if other calls were emitted, of an answer that was lost.
        """
        made = list(calls)
        for call in made:
            self._finish(call)
        if self._written.keys() - {call.call_id for call in made}:
            raise _broken()

    def _finish(self, call: ClientCall) -> None:
        if call.call_id in self._finished:
            return
        self.begin(call.call_id, call.name)
        written = self._written[call.call_id]
        if not call.arguments.startswith(written):
            raise _broken()
        self.catch_up(call.call_id, call.arguments)
        self._finished.add(call.call_id)
        self._emit(ClientCallFinished(call))


def _broken() -> StreamInterruptedError:
    return StreamInterruptedError(
        "The answer broke off in a function call, and another one was made since.",
        request_id=None,
        received="",
        response_id=None,
        sequence_number=-1,
    )
