"""One request for a response, repeated and reconciled until its outcome is known.

After a failure, `next_step` decides. A look at the conversation finds the answer, waits for it, or
shows what is missing: our message, or only its answer, which is then requested without the message.
A chain of responses and a message without a thread need no look: a second response to them is never
continued.
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
from .next_step import Known, Step, next_step
from .reconcile import ANSWERED, Reconciler, RecoveredItems
from .responses import response_text
from .retry import Deadline, Gate, RetryPolicy
from .sse import SseParser
from .tools.unanswered import ABANDONED_CALL, missing, refusal, repaired, unanswered
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
_NO_END = "Foundry closed the stream without its last event."
_DIFFERS = "The answer that Foundry stored differs from the part that was delivered."
_NOT_READ = "Foundry did not return the items of the conversation in time; try again."


async def may_send() -> None:
    """Allow it: no other process can be working on the same thread."""


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
    """Sends one request body until Foundry has answered it or nothing more can be done."""

    def __init__(
        self,
        link: Link,
        body: JsonObject,
        thread: ThreadRef,
        deadline: Deadline,
        *,
        silence: float,
        before_send: BeforeSend = may_send,
    ) -> None:
        self._link = link
        self._before_send = before_send
        self._body = clean(body)
        self._thread = thread
        self._deadline = deadline
        self._silence = silence
        self._input = objects_at(self._body, "input")
        """What the conversation should hold; the next request may need only a part of it."""
        self._streams = body.get("stream") is True
        self._answer = AnswerReader()
        self._failures = 0
        self._span = INVALID_SPAN
        """Of the current attempt."""
        self._unreported = 0
        """Requests that may have used tokens that were not reported to us."""
        self._shown: frozenset[str] = frozenset()
        """Functions whose calls the caller sees while the model writes them."""
        self._known = Known(
            has_conversation=thread.conversation_id is not None,
            look_first=thread.look_first,
            calls_open=thread.calls_open and thread.conversation_id is not None,
            is_background=body.get("background") is True,
            is_stored=body.get("store", True) is not False,
        )
        self.is_passed = False
        """The answer was found, followed by newer messages of other clients."""

    @property
    def request_id(self) -> str | None:
        """Foundry's id of the request that was answered."""
        return self._answer.request_id

    async def run(self, emit: EmitWire, *, shown: frozenset[str] = frozenset()) -> JsonObject:
        """The response, once it has ended; with `stream` in the body, its events are emitted.

        Calls of the functions ``shown`` reach the caller with those events, as its text does.

        Raises:
            FoundryError: if there is no answer.
        """
        self._shown = shown
        while True:
            step = next_step(self._known)
            match step:
                case Step.LOOK:
                    if (found := await self._look_back()) is not None:
                        return self._adopt(found, emit)
                case Step.ANSWER_CALLS:
                    await self._answer_open_calls()
                case Step.SEND | Step.RESUME:
                    if (response := await self._request(step, emit)) is not None:
                        return response
                case Step.FAIL:
                    assert self._known.failure is not None  # noqa: S101 - see `next_step`
                    raise self._failure(self._known.failure)

    async def _request(self, step: Step, emit: EmitWire) -> JsonObject | None:
        """Make one attempt; None if it failed, which is noted."""
        try:
            async with self._link.gate.passing(Deadline(self._patience)):
                return await self._traced_attempt(step, emit)
        except FoundryError as error:
            await self._note(error)
            return None

    async def _traced_attempt(self, step: Step, emit: EmitWire) -> JsonObject:
        """Make one request within a span of its own."""
        with spans.attempt(self._link.url, self._body, self._failures) as self._span:
            try:
                response = await self._attempt(step, emit)
            except FoundryError as error:
                spans.record_failure(self._span, error)
                raise
            spans.record_response(self._span, response, self.request_id)
            return response

    async def _attempt(self, step: Step, emit: EmitWire) -> JsonObject:
        """Make one request and read its answer to the end."""
        if self._failures:
            log.debug("Trying again: %s", step)
            self._link.metrics.retried()
        if step is Step.SEND:
            await self._before_send()
        call, seconds = self._call(step), self._deadline.remaining()
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
        raise ServiceUnavailableError(_NO_END, may_have_run=True, request_id=self.request_id)

    async def _next_chunk(self, stream: Stream) -> bytes | None:
        """The next piece; after a failure, only what arrives within `REASON_SECONDS`."""
        if not self._answer.is_failing:
            return await anext(stream.chunks, None)
        try:
            async with asyncio.timeout(REASON_SECONDS):
                return await anext(stream.chunks, None)
        except builtins.TimeoutError:
            return None

    def _call(self, step: Step) -> Call:
        if step is Step.SEND:
            return Call("POST", self._link.url, self._body, span=self._span)
        query: dict[str, str | int] = {
            "stream": "true",
            "starting_after": self._answer.sequence_number,
        }
        url = f"{self._link.url}/{self._answer.response_id}"
        return Call("GET", url, query=query, span=self._span)

    async def _note(self, error: FoundryError) -> None:
        """Note what a failed request means for the next step, and wait as long as it asks for."""
        self._failures += 1
        pause = self._link.retry.pause(error, self._failures)
        log.debug("Attempt %d: %s (request %s)", self._failures, error.code, error.request_id)
        waits_at_gate = self._link.gate.heed(error, pause)
        known = self._known
        known.failure, known.has_looked = error, False
        known.may_repeat = (
            self._link.retry.may_repeat(error, self._failures) and pause < self._patience
        )
        known.has_begun = self._answer.running
        known.has_delivered = self._has_delivered
        if pause and known.may_repeat and not waits_at_gate:
            log.debug("Waiting %.2f s", pause)
            await asyncio.sleep(pause)
        refused = error.status_code is not None and error.status_code >= HTTPStatus.BAD_REQUEST
        if error.answer_may_come and not refused and next_step(known) is not Step.RESUME:
            self._unreported += 1
            upstream().unreported += 1

    @property
    def _has_delivered(self) -> bool:
        """Whether the caller has been given a part of the answer."""
        return bool(self._answer.delivered) or not self._shown.isdisjoint(self._answer.called)

    @property
    def _patience(self) -> float:
        """Seconds from now that may pass before the caller gets an event or an error."""
        remaining = self._deadline.remaining()
        return min(remaining, self._silence) if self._streams else remaining

    def _failure(self, error: FoundryError) -> FoundryError:
        """The error that the caller gets: after a part of the answer, that it broke off.

        An error that names its reason, such as a filter or a limit, is raised as it is.
        """
        answer = self._answer
        if not self._has_delivered or not error.treatment.counts:
            return error
        return StreamInterruptedError(
            f"{_INTERRUPTED} {error.message}",
            request_id=error.request_id or answer.request_id,
            received=answer.delivered,
            response_id=answer.response_id,
            sequence_number=answer.sequence_number,
        )

    async def _look_back(self) -> JsonObject | None:
        """The answer to an earlier request, if Foundry has it.

        Raises:
            FoundryError: if Foundry does not answer in time: a request could then repeat one that
                has run.
        """
        failure = self._known.failure
        self._link.metrics.looked_back()
        limit = Deadline(self._deadline.remaining() + (LAST_LOOK_SECONDS if failure else 0.0))
        try:
            async with asyncio.timeout(limit.remaining()):
                found = await self._link.retry.repeat(lambda _: self._find(), limit)
        except (FoundryError, builtins.TimeoutError) as unknown:
            log.warning("The conversation cannot be read: %s", type(unknown).__name__)
            if failure is None and isinstance(unknown, FoundryError):
                raise
            raise self._failure(failure or TimeoutError(_NOT_READ)) from unknown
        self._known.has_looked = True
        return found

    async def _find(self) -> JsonObject | None:
        """Look once, and wait for an answer that may still come."""
        patience = min(self._deadline.remaining() * SETTLE_SHARE, self._patience)
        wait = Deadline(patience if self._answer_may_come else 0.0)
        if self._known.is_stored and self._answer.running and self._answer.response_id:
            body = await self._link.reconciler.response(self._answer.response_id, wait)
            if body is not None and body.get("status") in ANSWERED:
                return body
            if body is not None:
                self._answer.running, wait = False, Deadline(0.0)
        if self._thread.conversation_id is None:
            return None
        was_sent = self._known.failure is not None or self._thread.sent_before
        sent = self._input if was_sent or not self._thread.by_others else []
        recovered = await self._link.reconciler.settle(self._thread, sent, wait)
        if recovered.passed and not was_sent:  # an equal message of another client
            recovered = RecoveredItems(recovered.items)
        log.debug(
            "Looked after item %s of %s: %d items, sent=%s answered=%s",
            self._thread.last_item_id,
            self._thread.conversation_id,
            len(recovered.items),
            recovered.ours,
            recovered.is_answered,
        )
        if recovered.is_answered:
            answer = await self._link.reconciler.answer(recovered, wait)
            if self._is_ours(answer):
                self.is_passed = recovered.passed
                return answer
            others = self._thread.others | {str(answer.get("id"))}
            self._thread = replace(self._thread, others=others)
            return await self._find()
        self._prepare(recovered)
        return None

    def _is_ours(self, answer: JsonObject) -> bool:
        """Whether a response answers our request, and not an equal message of another client."""
        mark = object_at(self._body, "metadata").get(TURN_MARK)
        if mark is None or "metadata" not in answer:  # an answer made of items has no metadata
            return True
        return object_at(answer, "metadata").get(TURN_MARK) == mark

    @property
    def _answer_may_come(self) -> bool:
        """Whether a turn, ours or another's, may be running on the thread."""
        failure = self._known.failure
        if failure is None or isinstance(failure, ThreadBusyError):
            return True
        return failure.answer_may_come or self._answer.running

    def _prepare(self, recovered: RecoveredItems) -> None:
        """Send next only what the conversation still lacks."""
        self._known.input_found = recovered.ours
        if recovered.ours:
            self._body = {**self._body, "input": []}
            return
        self._input = missing(self._input, recovered.items)
        self._send_first(unanswered([*recovered.items, *self._input]))
        if recovered.last_item_id:
            self._thread = replace(self._thread, last_item_id=recovered.last_item_id)

    def _send_first(self, open_calls: list[JsonObject]) -> None:
        """Refuse calls that will not run any more, in front of our input."""
        self._input = [*map(refusal, open_calls), *self._input]
        self._body = {**self._body, "input": self._input}

    async def _answer_open_calls(self) -> None:
        """Refuse the calls at the end of the conversation, in front of our input.

        Raises:
            FoundryError: if the conversation cannot be read.
        """
        assert self._thread.conversation_id is not None  # noqa: S101 - see `Known.calls_open`
        conversation_id, find = self._thread.conversation_id, self._link.reconciler.tail
        tail = await self._link.retry.repeat(lambda _: find(conversation_id), self._deadline)
        self._input = repaired(self._input, map(refusal, tail.unanswered), ABANDONED_CALL)
        self._send_first(unanswered([*tail.unanswered, *self._input]))
        self._thread = replace(self._thread, last_item_id=tail.last_item_id)
        self._known.calls_open, self._known.calls_answered = False, True
        self._known.failure, self._known.has_looked = None, True

    def _adopt(self, response: JsonObject, emit: EmitWire) -> JsonObject:
        """Take a response that was found later; emit what was not delivered yet."""
        if self._unreported:
            self._unreported -= 1
            upstream().unreported -= 1
        self._answer.count_usage(response)
        text, delivered = response_text(response), self._answer.delivered
        if not text.startswith(delivered):
            raise self._failure(ServiceUnavailableError(_DIFFERS))
        if self._streams and (rest := text.removeprefix(delivered)):
            emit({"type": "response.output_text.delta", "delta": rest})
        return response
