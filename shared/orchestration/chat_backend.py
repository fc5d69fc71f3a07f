"""Backend for OpenAI chat completions: vLLM, Azure ML, Azure OpenAI and OpenAI.

These services store no threads, so each request contains the history. A request has no side
effects, so a failed one is retried, unless part of the answer was already delivered.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter

from ..foundry.answers import Reply, Stream
from ..foundry.client_calls import answer_items
from ..foundry.error_bodies import Peer
from ..foundry.errors import (
    ConfigurationError,
    FoundryError,
    InvalidRequestError,
    ProtocolError,
    ServiceUnavailableError,
    StreamInterruptedError,
)
from ..foundry.events import Emit
from ..foundry.metrics import ClientMetrics
from ..foundry.models import TurnRequest, TurnResult
from ..foundry.retry import Deadline, Gate, RetryPolicy
from ..foundry.sse import SseParser
from ..foundry.transport import Call, Transport
from ..foundry.wire_json import JsonObject, objects_at, text_at
from ..observability.upstream import upstream, waiting
from ..text import to_json_bytes
from ..turns.command import RunningTurn
from ..turns.conversation import estimated_tokens
from .backends import CHECK_SECONDS, Abilities
from .chat_wire import DONE, ChatPeer, ChatStream, chat_body, read_completion
from .model_types import ModelType

log = logging.getLogger(__name__)

NO_HISTORY = (
    "This model does not know the calls that the outputs belong to, because RECORD_CONTENT is off. "
    "Let the model that made them answer, or send a message."
)

_MEDIA = {"input_image", "input_file"}
"""The types of parts of a message that are no text."""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model behind a chat-completions server."""

    model_type: ModelType
    peer: Peer
    base_url: str
    """The URL to which `/chat/completions` is added."""
    name: str
    """The model's name on the server; empty for the first that the server lists."""
    context_tokens: int
    limit_field: str = "max_tokens"
    """The field that limits the tokens of an answer; newer OpenAI models accept only
    `max_completion_tokens`."""


class ChatBackend:
    """Answers turns with a chat-completions server."""

    def __init__(
        self,
        model: ChatModel,
        transport: Transport,
        *,
        max_tokens: int,
        max_retries: int,
        silence: float,
    ) -> None:
        """Create the backend.

        Args:
            model: The model to call.
            transport: Sends the calls, with the credential.
            max_tokens: The most tokens of an answer if the request sets no limit; at most half of
                the model's context.
            max_retries: How often a failed call is retried.
            silence: The most seconds between two chunks of a streamed answer.
        """
        self._model = model
        self._transport = transport
        self._max_tokens = max_tokens
        self._silence = silence
        self._metrics = ClientMetrics()
        self._retry = RetryPolicy(max_retries)
        self._gate = Gate(self._metrics)
        self._name = model.name

    @property
    def model_type(self) -> ModelType:
        """The type by which requests select it."""
        return self._model.model_type

    @property
    def model(self) -> str | None:
        """The configured model, or the first that the server listed; None until it is known."""
        return self._name or None

    @property
    def abilities(self) -> Abilities:
        """Text only."""
        return Abilities()

    @property
    def metrics(self) -> ClientMetrics:
        """Metrics of its turns."""
        return self._metrics

    def connect(self) -> None:
        """Nothing to check: the settings were checked when the backend was created."""

    def refusal(self, request: TurnRequest) -> FoundryError | None:
        """An error if the request uses tools of the app, images, files or a response format."""
        able = self.abilities
        asked = {
            "tools": request.tools and not able.tools,
            "images or files": _has_media(request) and not able.images,
            "response_format": request.response_format and not able.response_format,
        }
        if given := [name for name, value in asked.items() if value]:
            return InvalidRequestError(
                f"{self._model.peer.name} takes text only; leave out {', '.join(given)}, "
                f"or use {ModelType.FOUNDRY_AGENT_SERVICE}."
            )
        return None

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Send the message with as much of the conversation's history as fits.

        Raises:
            FoundryError: if there is no answer.
        """
        request, conversation, started = turn.request, turn.conversation, perf_counter()
        if refusal := self.refusal(request):
            raise refusal
        limit = request.max_tokens or min(self._max_tokens, self._model.context_tokens // 2)
        history = await conversation.history(0, self._room(request, limit)) if conversation else ()
        body = {**chat_body(request, history), self._model.limit_field: limit}
        if all(message["role"] == "system" for message in objects_at(body, "messages")):
            raise ConfigurationError(NO_HISTORY)
        with self._metrics.turn(), waiting():
            body["model"] = request.model or await self._model_name(turn.deadline)
            if turn.emit:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            result = await self._attempts(body, turn)
        result = replace(result, latency=perf_counter() - started)
        self._metrics.used(result)
        upstream().add_usage(result.usage)
        return result

    def _room(self, request: TurnRequest, answer_tokens: int) -> int:
        """How many tokens of history fit into the context, beside the message and its answer."""
        instructions = request.system_prompt or request.domain
        sent = [*request.preceding, *answer_items(request)]
        if request.client_tools:
            sent += request.client_tools.definitions
        texts = [request.message, instructions, *(to_json_bytes(each).decode() for each in sent)]
        return self._model.context_tokens - answer_tokens - sum(map(estimated_tokens, texts))

    async def _attempts(self, body: JsonObject, turn: RunningTurn) -> TurnResult:
        """Get the answer, with retries."""
        failures = 0
        while True:
            try:
                async with self._gate.passing(turn.deadline):
                    await turn.ensure_held()
                    return await self._attempt(body, turn)
            except FoundryError as error:
                if error.may_have_run:  # the attempt may have used tokens that were not reported
                    upstream().unreported += 1
                failures += 1
                await self._pause(error, failures, turn.deadline)

    async def _pause(self, error: FoundryError, failures: int, deadline: Deadline) -> None:
        """Wait before the next attempt, or raise the error if there are no more attempts."""
        pause = self._retry.pause(error, failures)
        waits_at_gate = self._gate.heed(error, pause)
        may_repeat = self._retry.may_repeat(error, failures)
        if not may_repeat or pause >= deadline.remaining():
            raise error
        self._metrics.retried()
        if not waits_at_gate:
            await asyncio.sleep(pause)

    async def _attempt(self, body: JsonObject, turn: RunningTurn) -> TurnResult:
        call = Call("POST", f"{self._model.base_url}/chat/completions", body)
        has_functions = turn.request.client_tools is not None
        if turn.emit:
            return await self._streamed(call, turn.deadline, turn.emit, has_functions)
        reply = await self._transport.send(call, seconds=turn.deadline.remaining())
        chat = ChatStream(self._peer(body, reply), has_functions=has_functions)
        return read_completion(reply.body, chat)

    async def _streamed(
        self, call: Call, deadline: Deadline, emit: Emit, has_functions: bool
    ) -> TurnResult:
        chat: ChatStream | None = None
        try:
            async with self._transport.stream(
                call, silence=self._silence, seconds=deadline.remaining()
            ) as stream:
                by = self._peer(call.body or {}, stream)
                chat = ChatStream(by, emit, has_functions=has_functions)
                if stream.whole is not None:
                    return read_completion(stream.whole, chat)
                await self._read(chat, stream)
        except FoundryError as error:
            if chat is None or not chat.has_begun or not error.treatment.counts:
                raise  # an error with a specific reason, such as a filter or a limit
            raise StreamInterruptedError(
                f"The answer broke off. {error.message}",
                request_id=error.request_id,
                received=chat.text,
                response_id=None,
                sequence_number=-1,
            ) from error
        return chat.result()

    async def _read(self, chat: ChatStream, stream: Stream) -> None:
        """Read each event, until the stream's end event."""
        parser = SseParser()
        async for chunk in stream.chunks:
            for data in parser.feed(chunk):
                if data == DONE:
                    return
                chat.feed(data)
        if not chat.is_complete:
            raise ServiceUnavailableError(
                f"The stream from {self._model.peer.name} ended before the answer was complete.",
                may_have_run=True,
            )

    def _peer(self, body: JsonObject, answer: Reply | Stream) -> ChatPeer:
        return ChatPeer(self._model.peer, str(body.get("model")), answer.request_id, answer.headers)

    async def _model_name(self, deadline: Deadline) -> str:
        """The configured model, or the first that the server lists."""
        if not self._name:
            seconds = min(CHECK_SECONDS, deadline.remaining())
            models = objects_at((await self._list_models(seconds)), "data")
            name = text_at(models[0], "id") if models else None
            if name is None:
                raise ProtocolError(f"{self._model.peer.name} lists no model.")
            self._name = name
        return self._name

    async def _list_models(self, seconds: float) -> JsonObject:
        call = Call("GET", f"{self._model.base_url}/models")
        return (await self._transport.send(call, seconds=seconds)).body

    async def check(self) -> None:
        """List the server's models, which all these services support."""
        await self._list_models(CHECK_SECONDS)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _has_media(request: TurnRequest) -> bool:
    """Whether a request, or what it says before its message, has more than text."""
    said = (part for item in request.preceding for part in objects_at(item, "content"))
    return bool(request.parts) or any(part.get("type") in _MEDIA for part in said)
