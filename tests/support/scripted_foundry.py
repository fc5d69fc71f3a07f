"""Foundry at the HTTP seam: the real client runs, and this answers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
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
    _questions: count[int] = field(default_factory=lambda: count(1))

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
        return [
            item["content"]
            for body in self.sent
            for item in body["input"]
            if item.get("role") == "user"
        ]

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

    def then_lose(self) -> None:
        """Answer the next message, but cut the connection before the answer arrives."""

        async def lose(request: httpx.Request) -> httpx.Response:
            await self.answer(request)
            raise httpx.ReadError("cut")

        self.then(lose)

    def then_hear(self, error: Exception | None = None) -> None:
        """Take the next message in, but fail before there is an answer to it."""

        async def hear(request: httpx.Request) -> httpx.Response:
            body = _body(request)
            self._take_in(body)
            raise error or httpx.ReadError("cut")

        self.then(hear)

    def then_stream(self, *pieces: bytes, error: Exception | None = None) -> None:
        """Answer the next message with pieces of a stream, and a broken connection at the end."""
        self.then(httpx.Response(200, stream=Pieces(pieces, error)))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer by rule; script it to put an ordinary answer before an odd one."""
        body = _body(request)
        answer = self._answer(request, body)
        if answer.is_success and body.get("stream"):
            return httpx.Response(200, stream=Pieces(map(sse, stream_events(answer.json()))))
        return answer

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

    def _answer(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        method, path = request.method, request.url.path
        parts = path.split("/openai/v1/", 1)[-1].split("/")
        found = None
        if parts[0] == "responses":
            found = self._on_responses(method, parts[1:], body, request.url.params)
        elif parts[0] == "conversations":
            found = self._on_conversations(method, parts[1:], body, request.url.params)
        elif parts[-1] == "models" or "/agents/" in path or "/deployments/" in path:
            found = {}
        if found is None:
            error = {"code": "not_found", "message": f"{path} does not exist"}
            return httpx.Response(404, json={"error": error})
        return httpx.Response(200, json=found)

    def _on_responses(
        self, method: str, path: list[str], body: dict[str, Any], query: httpx.QueryParams
    ) -> dict[str, Any] | None:
        match method, path:
            case "POST", []:
                return self._respond(body)
            case "GET", []:
                made = self.responses.values()
                wanted = {"id": query["conversation_id"]}
                return {"data": [each for each in made if each.get("conversation") == wanted]}
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
        self, method: str, path: list[str], body: dict[str, Any], query: httpx.QueryParams
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
                return page_of(self.conversations[name], query)
            case "POST", [name]:
                return conversation(name, body["metadata"])
            case "DELETE", [name]:
                del self.conversations[name]
                return {"id": name, "deleted": True}
            case _:
                return None

    def _respond(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = self._take_in(body)
        number = next(self._ids)
        response_id = f"resp_{number}"
        text = f"You said: {_said(asked[-1])}"
        answer = message_item(text, id=f"msg_a{number}", response_id=response_id)
        response = response_body(id=response_id, output=[answer])
        response["model"] = body.get("model", "agents-model")
        response["previous_response_id"] = body.get("previous_response_id")
        if name := body.get("conversation"):
            response["conversation"] = {"id": name}
            self.conversations.setdefault(name, []).append(answer)
        self.responses[response["id"]] = {**response, "input": asked}
        return response

    def _take_in(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Keep the input of a request; without any, what stands in the conversation is asked."""
        asked = [{"id": f"msg_q{next(self._questions)}", **item} for item in body["input"]]
        if name := body.get("conversation"):
            items = self.conversations.setdefault(name, [])
            items.extend(asked)
            return asked or items[-1:]
        return asked


@dataclass
class Pieces(httpx.AsyncByteStream):
    """A body that arrives in pieces, and may break off."""

    pieces: Iterable[bytes]
    error: Exception | None = None
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield piece
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


def _said(item: dict[str, Any]) -> str:
    content: str | list[dict[str, str]] = item.get("content") or item.get("output") or "yes"
    return content if isinstance(content, str) else content[0]["text"]


def page_of(items: list[dict[str, Any]], query: httpx.QueryParams) -> dict[str, Any]:
    """A page of a list, as `order`, `after` and `limit` ask for it."""
    ordered = items if query.get("order") == "asc" else items[::-1]
    ids = [item["id"] for item in ordered]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    end = start + int(query.get("limit", "20"))
    return {"data": ordered[start:end], "has_more": end < len(ordered)}


def sse(event: dict[str, Any]) -> bytes:
    """An event as it stands in a stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def stream_events(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed response, word by word."""
    started = {**response, "status": "in_progress", "output": list[object]()}
    words = response["output"][0]["content"][0]["text"].split(" ")
    events: list[dict[str, Any]] = [{"type": "response.created", "response": started}]
    for number, word in enumerate(words):
        delta = word if number == 0 else f" {word}"
        events.append({"type": "response.output_text.delta", "delta": delta})
    events.append({"type": f"response.{response['status']}", "response": response})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


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
