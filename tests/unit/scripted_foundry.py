"""Foundry at the HTTP seam: the real client runs, and this answers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import httpx

Scripted = httpx.Response | Exception | Callable[[httpx.Request], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class SeenCall:
    """A request that reached Foundry."""

    method: str
    path: str
    query: dict[str, str]
    headers: httpx.Headers
    body: dict[str, Any]


@dataclass
class ScriptedFoundry:
    """Foundry at the HTTP seam: answers by rule, or with what was scripted for a call.

    Give its `transport` to a `FoundryService` as ``http``. An answer to a message is
    ``You said: <message>``, with five tokens of usage.
    """

    calls: list[SeenCall] = field(default_factory=list[SeenCall])
    conversations: dict[str, list[dict[str, Any]]] = field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    responses: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _script: list[tuple[str, Scripted]] = field(default_factory=list[tuple[str, Scripted]])
    _ids: count[int] = field(default_factory=lambda: count(1))

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Bodies of the response requests so far."""
        return [
            call.body
            for call in self.calls
            if call.method == "POST" and call.path.endswith("/responses")
        ]

    @property
    def messages(self) -> list[str]:
        """The user messages so far, in order."""
        return [body["input"][0]["content"] for body in self.sent]

    def then(self, answer: Scripted, path: str = "/responses") -> None:
        """Script the next call whose path ends with ``path``; several are used in order."""
        self._script.append((path, answer))

    def then_fail(self, status: int, error: object = None, **headers: str) -> None:
        """Refuse the next message with a status, an error object and headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.then(httpx.Response(status, json={"error": error or {}}, headers=named))

    def then_hold(self, until: asyncio.Event) -> asyncio.Event:
        """Answer the next message when ``until`` is set; gives an event set on its arrival."""
        arrived = asyncio.Event()

        async def wait(request: httpx.Request) -> httpx.Response:
            arrived.set()
            await until.wait()
            return await self.answer(request)

        self.then(wait)
        return arrived

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer by rule; script it to put an ordinary answer before an odd one."""
        return self._answer(request.method, request.url.path, _body(request))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, _body(request)
        self.calls.append(
            SeenCall(request.method, path, dict(request.url.params), request.headers, body)
        )
        for number, (ending, scripted) in enumerate(self._script):
            if path.endswith(ending):
                del self._script[number]
                return await _play(scripted, request)
        return await self.answer(request)

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        parts = path.split("/openai/v1/", 1)[-1].split("/")
        found = None
        if parts[0] == "responses":
            found = self._on_responses(method, parts[1:], body)
        elif parts[0] == "conversations":
            found = self._on_conversations(method, parts[1:], body)
        elif parts[-1] == "models" or "/agents/" in path or "/deployments/" in path:
            found = {}
        if found is None:
            error = {"code": "not_found", "message": f"{path} does not exist"}
            return httpx.Response(404, json={"error": error})
        return httpx.Response(200, json=found)

    def _on_responses(
        self, method: str, path: list[str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        match method, path:
            case "POST", []:
                return self._respond(body)
            case "GET", [name] if name in self.responses:
                return self.responses[name]
            case "GET", [name, "input_items"] if name in self.responses:
                return {"data": self.responses[name]["input"]}
            case "DELETE", [name] if name in self.responses:
                del self.responses[name]
                return {"id": name, "deleted": True}
            case _:
                return None

    def _on_conversations(
        self, method: str, path: list[str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        if method == "POST" and not path:
            name = f"conv_{next(self._ids)}"
            self.conversations[name] = []
            return conversation(name, body["metadata"])
        if not path or path[0] not in self.conversations:
            return None
        match method, path:
            case "GET", [name]:
                return conversation(name)
            case "GET", [name, "items"]:
                return {"data": self.conversations[name][::-1], "has_more": False}
            case "POST", [name]:
                return conversation(name, body["metadata"])
            case "DELETE", [name]:
                del self.conversations[name]
                return {"id": name, "deleted": True}
            case _:
                return None

    def _respond(self, body: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        asked = {"id": f"msg_q{number}", **body["input"][0]}
        answer = message_item(f"You said: {asked['content']}", id=f"msg_a{number}")
        response = response_body(id=f"resp_{number}", output=[answer])
        response["model"] = body.get("model", "agents-model")
        response["previous_response_id"] = body.get("previous_response_id")
        if name := body.get("conversation"):
            response["conversation"] = {"id": name}
            self.conversations.setdefault(name, []).extend([asked, answer])
        self.responses[response["id"]] = {**response, "input": [asked]}
        return response


async def _play(scripted: Scripted, request: httpx.Request) -> httpx.Response:
    if isinstance(scripted, Exception):
        raise scripted
    if isinstance(scripted, httpx.Response):
        return scripted
    return await scripted(request)


def _body(request: httpx.Request) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(request.content)) if request.content else {}


def conversation(name: str, metadata: object = None) -> dict[str, Any]:
    """A conversation object."""
    created_at = 1_772_366_400
    return {
        "id": name,
        "object": "conversation",
        "created_at": created_at,
        "metadata": metadata or {},
    }


def message_item(text: str, **more: Any) -> dict[str, Any]:
    """An assistant's message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": list[str]()}
    return {"type": "message", "role": "assistant", "content": [part], **more}


def response_body(**fields: Any) -> dict[str, Any]:
    """A completed response object."""
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "llama-3.3-70b",
        "output": [message_item("Hello", id="msg_1")],
        "usage": {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5},
        "error": None,
        "incomplete_details": None,
        "conversation": None,
        **fields,
    }
