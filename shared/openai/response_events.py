"""The events of a streamed response, live and again.

A stream can be read again from any event on: what is stored remembers where the text was split, and
where events said only that the response still runs, so the same events have the same numbers.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..documents import JsonObject
from ..foundry.events import ClientCallDelta, ClientCallStarted, MessageDelta
from ..text import to_json_bytes
from ..turns.background import QUIET_SECONDS
from ..turns.command import AnsweredTurn, Progress, TurnOpened
from .errors import error_document
from .joining import KEEP_ALIVE
from .response_wire import (
    REQUESTS,
    ResponseForm,
    ResponseStatus,
    call_of,
    message_of,
    response_id_of,
    ulid_of,
)
from .tools import NO_TOOLS

SILENCES = round(60.0 / QUIET_SECONDS)
"""Keep-alives until an event says that the response still runs: some clients count events only."""


@dataclass(slots=True)
class Pieces:
    """How a response was split into events."""

    lengths: list[int] = field(default_factory=list[int])
    """Of the texts and arguments, in the order in which they were streamed."""
    pauses: list[int] = field(default_factory=list[int])
    """Numbers of the events that said only that the response still runs."""

    def watch(self, event: object) -> None:
        """Note an event of the turn, as it happens."""
        if isinstance(event, MessageDelta) and event.text:
            self.lengths.append(len(event.text))
        elif isinstance(event, ClientCallDelta):
            self.lengths.append(len(event.arguments))

    def to_json(self) -> JsonObject:
        """As a stored response has it."""
        return {"lengths": list(self.lengths), "pauses": list(self.pauses)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> Pieces:
        """Read what `to_json` returned."""
        known = document or {}
        return cls(list(known.get("lengths", ())), list(known.get("pauses", ())))


@dataclass(slots=True)
class Events:
    """Makes the events of one response, in order and numbered."""

    begun: JsonObject
    """The response before it has an answer."""
    _number: int = 0
    _index: int = -1
    """Of the item that is open, or was last."""
    _open: JsonObject | None = None
    """The item that is open."""
    _text: str = ""
    """Of the open item, so far."""

    @property
    def _ulid(self) -> str:
        return ulid_of(self.begun["id"])

    def _event(self, kind: str, **members: Any) -> JsonObject:
        event = {"type": f"response.{kind}", "sequence_number": self._number, **members}
        self._number += 1
        return event

    def begin(self) -> Iterator[JsonObject]:
        """The events before the answer."""
        running = {**self.begun, "status": ResponseStatus.IN_PROGRESS}
        yield self._event("created", response=self.begun)
        if self.begun["status"] == ResponseStatus.QUEUED:
            yield self._event("queued", response=self.begun)
        yield self._event("in_progress", response=running)

    def pause(self) -> JsonObject:
        """The event that says that the response still runs."""
        return self._event("in_progress", response=self.begun)

    def text(self, piece: str) -> Iterator[JsonObject]:
        """The events of a piece of the text."""
        if self._open is None or self._open["type"] != "message":
            yield from self.close()
            yield from self._add(message_of(self._ulid, "", None, ResponseStatus.IN_PROGRESS))
            yield self._part("content_part.added", part=_text_part(""))
        self._text += piece
        yield self._part("output_text.delta", delta=piece, logprobs=[])

    def call(self, call_id: str, name: str, namespace: str | None) -> Iterator[JsonObject]:
        """The events that begin a call; ``name`` is as the caller knows it."""
        yield from self.close()
        item = call_of(self._ulid, self._index + 1, call_id, name, "", NO_TOOLS)
        item["status"] = ResponseStatus.IN_PROGRESS
        yield from self._add({**item, "namespace": namespace} if namespace else item)

    def arguments(self, piece: str) -> JsonObject:
        """The event of a piece of a call's arguments."""
        self._text += piece
        return self._item("function_call_arguments.delta", delta=piece)

    def close(self, status: str = ResponseStatus.COMPLETED) -> Iterator[JsonObject]:
        """The events that end the open item."""
        item, self._open = self._open, None
        if item is None:
            return
        text, self._text = self._text, ""
        if item["type"] == "function_call":
            self._open = item
            done = {"name": item["name"], "arguments": text}
            yield self._item("function_call_arguments.done", **done)
            item = {**item, "arguments": text, "status": ResponseStatus.COMPLETED}
        else:
            self._open = item
            part = _text_part(text)
            yield self._part("output_text.done", text=text, logprobs=[])
            yield self._part("content_part.done", part=part)
            item = {**item, "content": [part], "status": str(status)}
        self._open = None
        yield self._event("output_item.done", output_index=self._index, item=item)

    def end(self, response: JsonObject) -> Iterator[JsonObject]:
        """The events that end the response: the last one is the only one that says so."""
        status = response["status"]
        if status in {ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE}:
            yield from self._missing(response)
            yield from self.close(status)
            for item in response["output"]:
                if item["type"] in REQUESTS:
                    yield from self._add(item)
                    self._open = None
                    yield self._event("output_item.done", output_index=self._index, item=item)
        kind = status if status != ResponseStatus.CANCELLED else ResponseStatus.FAILED
        yield self._event(str(kind), response=response)

    def _missing(self, response: JsonObject) -> Iterator[JsonObject]:
        """The events of a message that was not streamed, such as a refusal or an empty answer."""
        first = next(iter(response["output"]), None)
        if self._index >= 0 or first is None or first["type"] != "message":
            return
        (part,) = first["content"]
        if part["type"] == "output_text":
            yield from self.text(part["text"])
            return
        yield from self._add({**first, "content": [], "status": ResponseStatus.IN_PROGRESS})
        yield self._part("content_part.added", part={**part, "refusal": ""})
        yield self._part("refusal.delta", delta=part["refusal"])
        yield self._part("refusal.done", refusal=part["refusal"])
        yield self._part("content_part.done", part=part)
        self._open = None
        yield self._event("output_item.done", output_index=self._index, item=first)

    def _add(self, item: JsonObject) -> Iterator[JsonObject]:
        self._index += 1
        self._open = {**item, "content": []} if item["type"] == "message" else item
        yield self._event("output_item.added", output_index=self._index, item=self._open)

    def _item(self, kind: str, **members: Any) -> JsonObject:
        item_id = (self._open or {})["id"]
        return self._event(kind, item_id=item_id, output_index=self._index, **members)

    def _part(self, kind: str, **members: Any) -> JsonObject:
        return self._item(kind, content_index=0, **members)


@dataclass(slots=True)
class ResponseFrames:
    """The frames of one streamed response."""

    form: ResponseForm
    pieces: Pieces
    _events: Events = field(init=False)
    _silences: int = 0

    def begin(self, opened: TurnOpened) -> list[bytes]:
        """The events before the answer."""
        response_id = response_id_of(opened.turn_id)
        self._events = Events(self.form.begun(response_id, ResponseStatus.IN_PROGRESS))
        return [frame(event) for event in self._events.begin()]

    def feed(self, event: Progress) -> list[bytes]:
        """The events of an event of the turn."""
        self._silences = 0
        match event:
            case MessageDelta() if event.text:
                made = list(self._events.text(event.text))
            case ClientCallStarted():
                space = self.form.tools.namespaces.get(event.name)
                name, namespace = (space[1], space[0]) if space else (event.name, None)
                made = list(self._events.call(event.call_id, name, namespace))
            case ClientCallDelta():
                made = [self._events.arguments(event.arguments)]
            case AnsweredTurn():
                made = list(self._events.end(self.form.answered(event)))
            case _:
                made = []
        return [frame(each) for each in made]

    def silence(self) -> list[bytes]:
        """A comment, and each minute an event."""
        self._silences += 1
        if self._silences < SILENCES:
            return [KEEP_ALIVE]
        self._silences = 0
        pause = self._events.pause()
        self.pieces.pauses.append(pause["sequence_number"])
        return [frame(pause)]

    def fail(self, problem: Mapping[str, Any]) -> list[bytes]:
        """The event that says that the response failed; nothing follows it."""
        response_id = self._events.begun["id"]
        response = self.form.failed(response_id, problem)
        return [frame(event) for event in self._events.end(response)]


def begun_of(response: Mapping[str, Any]) -> JsonObject:
    """A response as it was before it had an answer."""
    return {
        **response,
        "status": ResponseStatus.QUEUED if response["background"] else ResponseStatus.IN_PROGRESS,
        "output": [],
        "usage": None,
        "error": None,
        "incomplete_details": None,
        "completed_at": None,
    }


def again(begun: JsonObject, response: JsonObject, pieces: Pieces) -> Iterator[JsonObject]:
    """The events of a response that has ended, as they were streamed."""
    events, pauses = Events(begun), set(pieces.pauses)
    number = 0
    for event in _without_pauses(events, response, list(pieces.lengths)):
        while number in pauses:
            yield {**events.pause(), "sequence_number": number}
            number += 1
        yield {**event, "sequence_number": number}
        number += 1


def _without_pauses(
    events: Events, response: JsonObject, lengths: list[int]
) -> Iterator[JsonObject]:
    yield from events.begin()
    for item in response["output"]:
        if item["type"] in REQUESTS:  # they are events of the end
            continue
        if item["type"] == "function_call":
            yield from events.call(item["call_id"], item["name"], item.get("namespace"))
            yield from (events.arguments(piece) for piece in _split(item["arguments"], lengths))
        else:
            for piece in _split(item["content"][0].get("text") or "", lengths):
                yield from events.text(piece)
    yield from events.end(response)


def _split(text: str, lengths: list[int]) -> Iterator[str]:
    """A text in the pieces in which it was streamed; whole if that is not known."""
    while text:
        length = lengths.pop(0) if lengths else len(text)
        yield text[:length]
        text = text[length:]


def failed(problem: Mapping[str, Any]) -> bytes:
    """The only event of a stream that failed before its response began."""
    error = error_document(problem)["error"]
    members = {name: error[name] for name in ("code", "message", "param")}
    return frame({"type": "error", "sequence_number": 0, **members})


def frame(event: Mapping[str, Any]) -> bytes:
    """An event on the wire."""
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), to_json_bytes(event))


def _text_part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
