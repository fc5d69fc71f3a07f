"""One request for a response, carried to a known outcome.

A request that may have run is never blindly sent again on a conversation: first we look what it
left there, and then adopt the answer, wait for it, ask for the answer without sending the message
again, or send it because nothing arrived. A chain of responses and a message that stands alone
need no look: a second response there is an orphan that nobody follows. A background response that
is streamed needs none either: a broken stream is taken up again behind the last event that came.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from opentelemetry.trace import INVALID_SPAN

from ..observability.upstream import upstream
from ..text import clean
from . import call_spans as spans
from .answer_reader import TERMINAL, AnswerReader
from .answers import Stream
from .errors import (
    FoundryError,
    ServiceUnavailableError,
    StreamInterruptedError,
    ThreadBusyError,
    TimeoutError,
)
from .metrics import ClientMetrics
from .models import ThreadRef
from .reconcile import ANSWERED, Reconciler, RecoveredItems
from .responses import response_text
from .retry import Deadline, Gate, RetryPolicy
from .sse import SseParser
from .tools.unanswered import blocks_the_thread, refusal, unanswered
from .transport import Call, Transport
from .wire_json import JsonObject, object_at, objects_at

log = logging.getLogger(__name__)

SETTLE_SHARE = 0.5
"""Of the time that is left, how much may go into waiting for an answer that might be coming."""

LAST_LOOK_SECONDS = 5.0
"""Beyond the deadline, for seeing whether the answer is there after all."""

TURN_MARK = "aos_turn"
"""Key of the metadata by which a client finds the answer to its own message among equal ones."""

REASON_SECONDS = 1.0
"""After an event says that the answer failed, for another one that says why."""

BeforeSend = Callable[[], Awaitable[None]]
"""Called right before each request for a response; what it raises ends the turn, unsent."""

EmitWire = Callable[[JsonObject], None]
"""Called with each event of the service as it arrives."""

_INTERRUPTED = "The stream from Foundry broke off before the answer was complete."
_NOT_TOLD = "Foundry did not tell in time what stands in the conversation; try again."


async def may_send() -> None:
    """Nothing forbids it, as where no other process can be at work on the same thread."""


@dataclass(frozen=True, slots=True)
class Link:
    """What an exchange works with; one for all exchanges with a model deployment."""

    transport: Transport
    url: str
    """Of `POST /responses`."""
    reconciler: Reconciler
    retry: RetryPolicy
    gate: Gate
    metrics: ClientMetrics


class Exchange:
    """Sends one request body and yields the wire events of its answer."""

    def __init__(
        self,
        link: Link,
        body: JsonObject,
        backing: ThreadRef,
        deadline: Deadline,
        *,
        silence: float,
        before_send: BeforeSend = may_send,
    ) -> None:
        self._link = link
        self._before_send = before_send
        self._body = clean(body)
        self._backing = backing
        self._deadline = deadline
        self._silence = silence
        self._sent = objects_at(self._body, "input")
        self._streams = body.get("stream") is True
        self._answer = AnswerReader()
        self._failures = 0
        self._span = INVALID_SPAN
        """Of the attempt that runs."""
        self._unheard = 0
        """Requests that may have been answered without our hearing it: their tokens are unknown."""
        self._lost: FoundryError | None = None
        """How the latest attempt failed."""
        self._unsure = backing.look_first and backing.conversation_id is not None
        """Foundry must be asked what is there before anything is sent."""
        self._left_open = backing.left_open and backing.conversation_id is not None
        """Calls in the conversation must be answered together with what is sent."""
        self._unblocked = False
        """They have been."""
        self._landed = False
        """Our input is known to stand in the conversation, still unanswered."""
        self.is_passed = False
        """The answer was found, and behind it what others said since."""
        self._over = False
        """Nothing may be sent any more; only an answer that is there already can help."""

    @property
    def request_id(self) -> str | None:
        """Foundry's id of the request that was answered."""
        return self._answer.request_id

    async def run(self, emit: EmitWire) -> JsonObject:
        """The response, once it has ended; with `stream` in the body, its events are emitted.

        Raises:
            FoundryError: if there is no answer.
        """
        while True:
            if self._unsure and (found := await self._look_back()) is not None:
                return self._adopt(found, emit)
            if self._lost and self._over:
                raise self._failure(self._lost)
            if self._left_open and not self._landed:
                await self._answer_open_calls()
            try:
                async with self._link.gate.passing(Deadline(self._patience)):
                    return await self._traced_attempt(emit)
            except FoundryError as error:
                await self._take_in(error)

    async def _traced_attempt(self, emit: EmitWire) -> JsonObject:
        """Make one request within a span of its own."""
        with spans.attempt(self._link.url, self._body, self._failures) as self._span:
            try:
                response = await self._attempt(emit)
            except FoundryError as error:
                spans.tell_failure(self._span, error)
                raise
            spans.tell_response(self._span, response, self.request_id)
            return response

    async def _attempt(self, emit: EmitWire) -> JsonObject:
        """Make one request and read its answer to the end."""
        if self._failures:
            log.debug("Trying again: %s", "resume" if self._resumes else "send")
            self._link.metrics.retried()
        if not self._resumes:
            await self._before_send()
        call, seconds = self._next_call(), self._deadline.remaining()
        if not self._streams:
            reply = await self._link.transport.send(call, seconds=seconds)
            self._answer.open(reply)
            return self._answer.end(reply.body)
        opened = self._link.transport.stream(call, silence=self._silence, seconds=seconds)
        try:
            async with opened as stream:
                return await self._read(stream, emit)
        except FoundryError:
            self._answer.conclude()  # it may have said why before it broke off
            raise

    async def _read(self, stream: Stream, emit: EmitWire) -> JsonObject:
        """Read a stream up to the whole response, which may also come in its place.

        Raises:
            FoundryError: if the response failed, or the stream ends before it.
        """
        self._answer.open(stream)
        if stream.whole is not None:
            response = self._answer.end(stream.whole)
            if text := response_text(response):
                emit({"type": "response.output_text.delta", "delta": text})
            return response
        parser = SseParser()
        while (chunk := await self._next_chunk(stream)) is not None:
            for data in parser.feed(chunk):
                if (event := self._answer.read(data)) is None:
                    continue
                if event["type"] in TERMINAL:
                    return event["response"]
                emit(event)
        self._answer.conclude()
        raise ServiceUnavailableError(_INTERRUPTED, may_have_run=True, request_id=self.request_id)

    async def _next_chunk(self, stream: Stream) -> bytes | None:
        """The next piece; after a failure, only for a moment what else is said of it."""
        if not self._answer.is_failing:
            return await anext(stream.chunks, None)
        try:
            async with asyncio.timeout(REASON_SECONDS):
                return await anext(stream.chunks, None)
        except builtins.TimeoutError:
            return None

    @property
    def _resumes(self) -> bool:
        """Whether the response goes on without us and its stream can be taken up again."""
        return self._answer.running and self._body.get("background") is True

    def _next_call(self) -> Call:
        if not self._resumes:
            return Call("POST", self._link.url, self._body, span=self._span)
        behind: dict[str, str | int] = {
            "stream": "true",
            "starting_after": self._answer.sequence_number,
        }
        url = f"{self._link.url}/{self._answer.response_id}"
        return Call("GET", url, query=behind, span=self._span)

    async def _take_in(self, error: FoundryError) -> None:
        """Decide what a failed attempt means for the next step, and wait before that."""
        self._failures += 1
        if self._can_unblock(error):
            self._left_open = True
            return
        self._lost = error
        pause = self._link.retry.pause(error, self._failures)
        may_repeat = self._link.retry.may_repeat(error, self._failures)
        log.debug("Attempt %d: %s (request %s)", self._failures, error.code, error.request_id)
        waits_at_gate = self._link.gate.heed(error, pause)
        self._over = not may_repeat or pause >= self._patience
        if pause and not self._over and not waits_at_gate:
            log.debug("Waiting %.2f s", pause)
            await asyncio.sleep(pause)
        if self._resumes and not self._over:
            return
        refused = error.status_code is not None and error.status_code >= HTTPStatus.BAD_REQUEST
        if error.answer_may_come and not refused:
            self._unheard += 1
            upstream().unreported += 1
        in_doubt = error.may_have_run or self._answer.running or self._landed
        self._unsure = in_doubt and bool(self._backing.conversation_id or self._stored_response)
        self._over = self._over or bool(self._answer.delivered)

    @property
    def _patience(self) -> float:
        """Seconds from now that may pass without a word to the caller."""
        remaining = self._deadline.remaining()
        return min(remaining, self._silence) if self._streams else remaining

    def _failure(self, error: FoundryError) -> FoundryError:
        """What the caller gets: after a part of the answer, that it broke off.

        A failure that names its reason, such as a filter's or a limit's, is that reason still.
        """
        answer = self._answer
        if not answer.delivered or not error.treatment.counts:
            return error
        return StreamInterruptedError(
            f"{_INTERRUPTED} {error.message}",
            request_id=error.request_id or answer.request_id,
            received=answer.delivered,
            response_id=answer.response_id,
            sequence_number=answer.sequence_number,
        )

    async def _look_back(self) -> JsonObject | None:
        """The answer to what was sent before, if Foundry has it; else the body is safe to send.

        Raises:
            FoundryError: where Foundry does not say what became of it, because then nothing can
                be sent without the risk of saying it twice.
        """
        self._link.metrics.looked_back()
        limit = Deadline(self._deadline.remaining() + (LAST_LOOK_SECONDS if self._lost else 0.0))
        try:
            async with asyncio.timeout(limit.remaining()):
                found = await self._link.retry.repeat(lambda _: self._find(), limit)
        except (FoundryError, builtins.TimeoutError) as unknown:
            log.warning("What stands in Foundry cannot be seen: %s", type(unknown).__name__)
            if self._lost is None and isinstance(unknown, FoundryError):
                raise
            raise self._failure(self._lost or TimeoutError(_NOT_TOLD)) from unknown
        self._unsure = False
        if isinstance(self._lost, TimeoutError) and self._backing.conversation_id:
            # nothing there proves nothing: the request may still wait for its turn
            self._over = self._over or not self._landed
        return found

    async def _find(self) -> JsonObject | None:
        """One look, as `_look_back`; an answer that may come is waited for."""
        patience = min(self._deadline.remaining() * SETTLE_SHARE, self._patience)
        wait = Deadline(patience if self._answer_may_come else 0.0)
        if self._stored_response:
            body = await self._link.reconciler.response(self._stored_response, wait)
            if body is not None and body.get("status") in ANSWERED:
                return body
            if body is not None:
                self._answer.running, wait = False, Deadline(0.0)
        if self._backing.conversation_id is None:
            return None
        was_sent = self._lost is not None or self._backing.sent_before
        sent = self._sent if was_sent or not self._backing.by_others else []
        landed = await self._link.reconciler.settle(self._backing, sent, wait)
        if landed.passed and not was_sent:  # somebody said the same before
            landed = RecoveredItems(landed.items)
        log.debug(
            "Looked behind item %s of %s: %d items, sent=%s answered=%s",
            self._backing.last_item_id,
            self._backing.conversation_id,
            len(landed.items),
            landed.ours,
            landed.is_answered,
        )
        if landed.is_answered:
            answer = await self._link.reconciler.answer(landed, wait)
            if self._is_ours(answer):
                self.is_passed = landed.passed
                return answer
            others = self._backing.others | {str(answer.get("id"))}
            self._backing = replace(self._backing, others=others)
            return await self._find()
        self._prepare(landed)
        return None

    def _is_ours(self, answer: JsonObject) -> bool:
        """Whether a response answers what we sent, and not an equal message of another client."""
        mark = object_at(self._body, "metadata").get(TURN_MARK)
        if mark is None or "metadata" not in answer:  # its items alone do not tell
            return True
        return object_at(answer, "metadata").get(TURN_MARK) == mark

    @property
    def _answer_may_come(self) -> bool:
        """Whether it can help to wait, because someone may be at work on the thread."""
        lost = self._lost
        if lost is None or isinstance(lost, ThreadBusyError):
            return True
        return lost.answer_may_come or self._answer.running

    @property
    def _stored_response(self) -> str | None:
        """The id of the response that Foundry keeps, whether or not we are there to read it."""
        stored = self._answer.running and self._body.get("store", True)
        return self._answer.response_id if stored else None

    def _prepare(self, landed: RecoveredItems) -> None:
        """Send next only what the conversation still lacks."""
        self._landed = landed.ours
        if landed.ours:
            self._body = {**self._body, "input": []}
            return
        self._send_first(unanswered([*landed.items, *self._sent]))
        if landed.last_item_id:
            self._backing = replace(self._backing, last_item_id=landed.last_item_id)

    def _send_first(self, open_calls: list[JsonObject]) -> None:
        """Answer calls that will not be run any more before what is sent."""
        self._body = {**self._body, "input": [*map(refusal, open_calls), *self._sent]}
        self._sent = objects_at(self._body, "input")

    def _can_unblock(self, error: FoundryError) -> bool:
        """Whether a refusal is due to a call that another client left, which is answered once."""
        on_conversation = self._backing.conversation_id is not None
        return on_conversation and not self._unblocked and blocks_the_thread(error)

    async def _answer_open_calls(self) -> None:
        """Answer the calls with which the conversation ends, in front of what is sent next.

        Raises:
            FoundryError: if Foundry does not say how it ends.
        """
        assert self._backing.conversation_id is not None  # noqa: S101 - as `_left_open` says
        conversation_id, find = self._backing.conversation_id, self._link.reconciler.tail
        tail = await self._link.retry.repeat(lambda _: find(conversation_id), self._deadline)
        self._send_first(unanswered([*tail.unanswered, *self._sent]))
        self._backing = replace(self._backing, last_item_id=tail.last_item_id)
        self._left_open, self._unblocked = False, True

    def _adopt(self, response: JsonObject, emit: EmitWire) -> JsonObject:
        """Take a response that was found later; emit what was not delivered yet."""
        if self._unheard:
            self._unheard -= 1
            upstream().unreported -= 1
        self._answer.hear(response)
        text, delivered = response_text(response), self._answer.delivered
        if not text.startswith(delivered):
            raise self._failure(ServiceUnavailableError(_INTERRUPTED))
        if self._streams and (rest := text.removeprefix(delivered)):
            emit({"type": "response.output_text.delta", "delta": rest})
        return response
