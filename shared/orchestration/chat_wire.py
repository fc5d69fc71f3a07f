"""OpenAI chat completions on the wire: building requests and reading responses.

https://platform.openai.com/docs/api-reference/chat and
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from ..foundry.client_calls import CallFeed
from ..foundry.error_bodies import Peer, error_from_failure
from ..foundry.errors import ContentFilteredError, ProtocolError, ServiceUnavailableError
from ..foundry.events import Emit, MessageDelta, ignore
from ..foundry.models import (
    FinishReason,
    TurnRequest,
    TurnResult,
    Usage,
    token_counts,
)
from ..foundry.responses import instructions_for
from ..foundry.wire_json import JsonObject, object_at, objects_at, text_at
from ..text import parse_json
from ..turns.conversation import MessagePair, items_of
from ..turns.open_calls import with_history
from .chat_calls import ChatCalls, chat_messages, chat_tools

DONE = "[DONE]"

_COUNTS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
}
_REASONS = {"length": FinishReason.LENGTH, "max_tokens": FinishReason.LENGTH}


def chat_body(turn: TurnRequest, history: Iterable[MessagePair]) -> JsonObject:
    """The body of `POST /chat/completions`, without the model and the token limit.

    Sampling options are sent only if the request sets them, because some models reject them.
    """
    messages: list[JsonObject] = []
    if instructions := turn.system_prompt or instructions_for(turn.domain):
        messages.append({"role": "system", "content": instructions})
    messages += chat_messages(with_history(turn, items_of(history)).preceding)
    if turn.message:
        messages.append({"role": "user", "content": turn.message})
    sampling = {"temperature": turn.temperature, "top_p": turn.top_p}
    body = {"messages": messages, **{k: v for k, v in sampling.items() if v is not None}}
    return body | (chat_tools(turn.client_tools) if turn.client_tools else {})


@dataclass(frozen=True, slots=True)
class ChatPeer:
    """The server, model and request id of a response, for results and errors."""

    peer: Peer
    model: str
    request_id: str | None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def check(self, body: JsonObject) -> None:
        """Raise the error that a response, or a chunk of a stream, contains.

        Raises:
            FoundryError: if there is an error in it.
        """
        choices = objects_at(body, "choices")
        for part in (body, *choices[:1]):
            if part.get("error") or part.get("object") == "error":
                raise error_from_failure(part, self.request_id, self.peer, self.headers)


def read_completion(body: JsonObject, chat: ChatStream) -> TurnResult:
    """Read a `chat.completion` object, as if it were one chunk of a stream.

    Raises:
        ContentFilteredError: if a filter stopped the answer.
        FoundryError: if it contains an error.
        ProtocolError: if it contains no answer.
    """
    by = chat.by
    by.check(body)
    choices = objects_at(body, "choices")
    if not choices:
        raise ProtocolError(f"{by.peer.name}'s answer has no choices.", request_id=by.request_id)
    message = object_at(choices[0], "message")
    chat.read({**body, "choices": [{**choices[0], "delta": message}]})
    return chat.result()


class ChatStream:
    """Assembles a streamed completion, and emits its pieces."""

    def __init__(self, by: ChatPeer, emit: Emit = ignore, *, has_functions: bool = False) -> None:
        """Begin; calls are left out where the request had no functions to call."""
        self.by = by
        self._emit = emit
        self.calls = ChatCalls(CallFeed(frozenset(), emit))
        self._has_functions = has_functions
        self._id = ""
        self._model = by.model
        self._usage: Usage = {}
        self._reason: str | None = None
        self._refusal = ""
        self.text = ""
        """The text received so far."""

    @property
    def is_complete(self) -> bool:
        """Whether the model has finished."""
        return self._reason is not None

    @property
    def has_begun(self) -> bool:
        """Whether the caller has been given a part of the answer."""
        return bool(self.text or self.calls)

    def feed(self, data: str) -> None:
        """Read the data of one event, and emit what it adds.

        Raises:
            FoundryError: if the event contains an error, or cannot be read.
        """
        try:
            chunk = cast("JsonObject", parse_json(data))
            self.by.check(chunk)
        except (ValueError, AttributeError) as error:
            raise ServiceUnavailableError(
                f"An event of the stream from {self.by.peer.name} cannot be read.",
                request_id=self.by.request_id,
                may_have_run=True,
            ) from error
        self.read(chunk)

    def read(self, chunk: JsonObject) -> None:
        """Add one chunk to the completion."""
        self._id = text_at(chunk, "id") or self._id
        self._model = text_at(chunk, "model") or self._model
        self._usage = _usage(object_at(chunk, "usage")) or self._usage
        for choice in objects_at(chunk, "choices")[:1]:
            delta = object_at(choice, "delta")
            self._say(text_at(delta, "content") or "")
            if self._has_functions:
                self.calls.read(delta)
            self._refusal += text_at(delta, "refusal") or ""
            self._reason = text_at(choice, "finish_reason") or self._reason

    def _say(self, text: str) -> None:
        if text:
            self.text += text
            self._emit(MessageDelta(text))

    def result(self) -> TurnResult:
        """The finished turn.

        Raises:
            ContentFilteredError: if a filter stopped the answer.
        """
        if self._reason == "content_filter":
            raise ContentFilteredError(
                "A content filter stopped the answer. Rephrase the message; sending it again "
                "will not help.",
                request_id=self.by.request_id,
            )
        calls = self.calls.made()
        usual = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        return TurnResult(
            content=self.text or self._refusal,
            refusal=self._refusal or None,
            finish_reason=_REASONS.get(self._reason or "", usual),
            calls=calls,
            response_id=self._id,
            model=self._model,
            usage=self._usage,
            request_id=self.by.request_id,
        )


def _usage(usage: JsonObject) -> Usage:
    """Token counts under this app's names, without counts that are missing or invalid."""
    counts: JsonObject = {
        **{ours: usage.get(theirs) for ours, theirs in _COUNTS.items()},
        "cached_tokens": object_at(usage, "prompt_tokens_details").get("cached_tokens"),
        "reasoning_tokens": object_at(usage, "completion_tokens_details").get("reasoning_tokens"),
    }
    return token_counts(counts)
