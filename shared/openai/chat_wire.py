"""The answers of `POST /chat/completions`, whole and as a stream.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NotRequired

from ..documents import Document
from ..foundry.events import ClientCallDelta, ClientCallStarted, MessageDelta
from ..foundry.models import ClientCall, FinishReason, TurnResult
from ..problems import ProblemKind
from ..state.keys import made_at
from ..text import to_json_bytes
from ..turns.command import AnsweredTurn, Progress, TurnOpened
from .errors import error_document
from .joining import KEEP_ALIVE
from .sends import Form
from .stops import StopCutter, cut

COMPLETION = "chat.completion"
CHUNK = "chat.completion.chunk"
DONE = b"data: [DONE]\n\n"


class CachedTokens(Document):
    """More about the tokens of a prompt."""

    cached_tokens: int


class ReasoningTokens(Document):
    """More about the tokens of an answer."""

    reasoning_tokens: int


class ChatUsage(Document):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: NotRequired[CachedTokens]
    completion_tokens_details: NotRequired[ReasoningTokens]


class ChatFunction(Document):
    """The function of a call."""

    name: str
    arguments: str
    """JSON text, as the model wrote it."""


class ChatCallDocument(Document):
    """A call of a function."""

    id: str
    type: Literal["function"]
    function: ChatFunction


class ChatAnswer(Document):
    """The message of the model."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: NotRequired[list[ChatCallDocument]]
    """Calls of functions that the caller runs."""


class ChatChoice(Document):
    """The answer."""

    index: int
    message: ChatAnswer
    logprobs: None
    finish_reason: str


class ChatCompletionDocument(Document):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: NotRequired[ChatUsage]
    """Absent if the service reported no tokens."""


@dataclass(frozen=True, slots=True)
class ChatForm:
    """How one request is answered."""

    model: str
    """As the request named it."""
    stop: tuple[str, ...]
    wants_usage: bool
    _made: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], repr=False)
    """The answer by its turn: it is kept for a repeated request, and returned."""

    def form(self) -> Form:
        """The form of its answers."""
        frames = partial(ChatFrames, self)
        return Form(self.document, frames, self.replay, _failed)

    def document(self, turn: AnsweredTurn) -> dict[str, Any]:
        """The answer as a whole."""
        if turn.turn_id not in self._made:
            self._made[turn.turn_id] = self._document(turn)
        return self._made[turn.turn_id]

    def _document(self, turn: AnsweredTurn) -> dict[str, Any]:
        result = turn.result
        content, was_cut = cut(result.content, self.stop)
        reason = FinishReason.STOP if was_cut else result.finish_reason
        refused = result.refusal is not None
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if refused or (result.calls and not content) else content,
            "refusal": content if refused else None,
        }
        if result.calls:
            message["tool_calls"] = [_call(call) for call in result.calls]
        document = {
            **_head(turn.turn_id, COMPLETION, result.model or self.model),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": reason.value,
                }
            ],
        }
        if usage := chat_usage(result.usage):
            document["usage"] = usage
        return document

    async def replay(self, completion: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The stored answer of an earlier request as a stream."""
        head = {name: completion[name] for name in ("id", "created", "model")}
        chunks = _Chunks({**head, "object": CHUNK}, self.wants_usage)
        choice = completion["choices"][0]
        yield chunks.begin()
        for name in ("content", "refusal"):
            if text := choice["message"][name]:
                yield chunks.delta({name: text})
        for number, call in enumerate(choice["message"].get("tool_calls", ())):
            yield chunks.delta({"tool_calls": [{"index": number, **call}]})
        for frame in chunks.end(choice["finish_reason"], completion.get("usage")):
            yield frame


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Makes the frames of a stream."""

    head: Mapping[str, Any]
    wants_usage: bool

    def begin(self) -> bytes:
        return self.delta({"role": "assistant", "content": ""})

    def delta(self, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _frame({**self.head, "choices": [choice]})

    def end(self, reason: str, usage: Mapping[str, Any] | None) -> list[bytes]:
        frames = [self.delta({}, reason)]
        if self.wants_usage and usage:
            frames.append(_frame({**self.head, "choices": [], "usage": usage}))
        return [*frames, DONE]


@dataclass(slots=True)
class ChatFrames:
    """The frames of one streamed answer."""

    asked: ChatForm
    _chunks: _Chunks = field(init=False)
    _cutter: StopCutter = field(init=False)
    _calls: list[str] = field(default_factory=list[str])
    """Ids of the calls so far."""
    _has_text: bool = False
    """Whether the model said something in pieces."""

    def begin(self, opened: TurnOpened) -> list[bytes]:
        """The chunk with the role."""
        head = _head(opened.turn_id, CHUNK, self.asked.model)
        self._chunks = _Chunks(head, self.asked.wants_usage)
        self._cutter = StopCutter(self.asked.stop)
        return [self._chunks.begin()]

    def feed(self, event: Progress) -> list[bytes]:
        """The chunks of an event."""
        match event:
            case MessageDelta():
                self._has_text = True
                return self._text(self._cutter.feed(event.text))
            case ClientCallStarted():
                return self._call_started(event)
            case ClientCallDelta():
                return self._call_part(event.call_id, {"function": {"arguments": event.arguments}})
            case AnsweredTurn():
                missing = [] if self._has_text else self._whole(event.result)
                reason = FinishReason.STOP if self._cutter.found else event.result.finish_reason
                ended = self._chunks.end(reason.value, chat_usage(event.result.usage))
                return [*missing, *self._text(self._cutter.rest()), *ended]
            case _:
                return []

    def _whole(self, result: TurnResult) -> list[bytes]:
        """The text of an answer that did not come in pieces, such as a refusal."""
        if result.refusal is not None:
            return [self._chunks.delta({"refusal": result.refusal})]
        return [] if result.calls else self._text(self._cutter.feed(result.content))

    def _call_started(self, event: ClientCallStarted) -> list[bytes]:
        self._calls.append(event.call_id)
        function = {"name": event.name, "arguments": ""}
        part = {"id": event.call_id, "type": "function", "function": function}
        return [*self._text(self._cutter.rest()), *self._call_part(event.call_id, part)]

    def _call_part(self, call_id: str, part: Mapping[str, Any]) -> list[bytes]:
        delta = {"index": self._calls.index(call_id), **part}
        return [self._chunks.delta({"tool_calls": [delta]})]

    def _text(self, text: str) -> list[bytes]:
        return [self._chunks.delta({"content": text})] if text else []

    def silence(self) -> list[bytes]:
        """A comment."""
        return [KEEP_ALIVE]

    def fail(self, problem: Mapping[str, Any]) -> list[bytes]:
        """The error, after which nothing follows; a filter ends the answer instead."""
        if problem["code"] == ProblemKind.CONTENT_FILTER.code:
            return self._chunks.end("content_filter", None)
        return [_failed(problem)]


def _call(call: ClientCall) -> ChatCallDocument:
    function: ChatFunction = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _head(turn_id: str, kind: str, model: str) -> dict[str, Any]:
    name, created = turn_id.partition("_")[2], int(made_at(turn_id).timestamp())
    return {"id": f"chatcmpl-{name}", "object": kind, "created": created, "model": model}


def chat_usage(usage: Mapping[str, int]) -> ChatUsage | None:
    """Token counts in the form of this API; None if they were not reported."""
    if "input_tokens" not in usage or "output_tokens" not in usage:
        return None
    prompt, completion = usage["input_tokens"], usage["output_tokens"]
    counts: ChatUsage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.get("total_tokens", prompt + completion),
    }
    if "cached_tokens" in usage:
        counts["prompt_tokens_details"] = {"cached_tokens": usage["cached_tokens"]}
    if "reasoning_tokens" in usage:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage["reasoning_tokens"]}
    return counts


def _failed(problem: Mapping[str, Any]) -> bytes:
    """The last frame of a stream that failed."""
    return _frame(error_document(problem))


def _frame(document: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % to_json_bytes(document)
