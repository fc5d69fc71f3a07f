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
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from .error_bodies import error_from_failure
from .errors import (
    FoundryError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
    StreamInterruptedError,
    ThreadBusyError,
    TimeoutError,
)
from .metrics import ClientMetrics
from .models import Backing
from .reconcile import ANSWERED, Landed, Reconciler
from .responses import response_text
from .retry import Deadline, Gate, RetryPolicy
from .sse import SseParser
from .transport import Call, Transport
from .wire_json import JsonObject, object_at, objects_at, text_at

log = logging.getLogger(__name__)

SETTLE_SHARE = 0.5
"""Of the time that is left, how much may go into waiting for an answer that might be coming."""

LAST_LOOK_SECONDS = 5.0
"""Beyond the deadline, for seeing whether the answer is there after all."""

TERMINAL = {"response.completed", "response.incomplete"}
"""Events that end a stream and carry the whole response."""

ABANDONED_CALL = "The tool did not run: the turn that asked for it was interrupted."
"""Answers a function call that nobody will answer any more; unanswered, it blocks the thread."""

_INTERRUPTED = "The stream from Foundry broke off before the answer was complete."


@dataclass(frozen=True, slots=True)
class Link:
    """What an exchange works with; one for all exchanges of a service."""

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
        backing: Backing,
        deadline: Deadline,
        *,
        silence: float,
    ) -> None:
        self._link = link
        self._silence = silence
        self._body = body
        self._backing = backing
        self._deadline = deadline
        self._sent = objects_at(body, "input")
        self._may_be_there = backing.sent_before
        """Our input was sent, so it counts as ours even where others have said more since."""
        self._arrived = False
        """Our input is known to stand in the conversation, still unanswered."""
        self._delivered = ""
        self._response_id: str | None = None
        self._response_lives = False
        self._sequence = -1
        self.request_id: str | None = None
        """Foundry's id of the request that was answered."""

    async def events(self) -> AsyncGenerator[JsonObject]:
        """The events up to the terminal one; a body without `stream` gives that one only.

        Raises:
            FoundryError: if there is no answer.
        """
        failures = 0
        unsure = self._backing.look_first and self._backing.conversation_id is not None
        while True:
            try:
                found = await self._find(answer_may_come=True) if unsure else None
                unsure = False
                if found is None:
                    async with (
                        self._link.gate.passing(Deadline(self._patience)),
                        aclosing(self._attempt()) as events,
                    ):
                        async for event in events:
                            yield event
                    return
            except FoundryError as error:
                failures += 1
                found = await self._recover(error, failures)
                if found is None:
                    continue
            for event in self._adopt(found):
                yield event
            return

    @property
    def _patience(self) -> float:
        """Seconds from now that may pass without a word to the caller."""
        remaining = self._deadline.remaining()
        return min(remaining, self._silence) if self._body.get("stream") else remaining

    async def _recover(self, error: FoundryError, failures: int) -> JsonObject | None:
        """After a failure: the answer if it is there after all, None to send again, or raise."""
        delay = self._link.retry.delay(error, failures)
        rate_limited = isinstance(error, RateLimitedError)
        if rate_limited:  # the gate keeps this request waiting, and all the others
            self._link.gate.pause(delay or error.retry_after or 0.0)
        if delay is not None and delay >= self._patience:
            delay = None
        log.debug("Attempt %d: %s (request %s)", failures, error.code, error.request_id)
        if delay is not None and not rate_limited:
            log.debug("Waiting %.2f s", delay)
            await asyncio.sleep(delay)
        resumed = delay is not None and self._resumes
        if (error.may_have_run or self._response_lives or self._arrived) and not resumed:
            found = await self._find_lost(error)
            if found is not None:
                return found
            if isinstance(error, TimeoutError) and self._backing.conversation_id:
                # nothing there proves nothing: the request may still wait for its turn
                delay = delay if self._arrived else None
        if not resumed and (delay is None or self._delivered):
            raise self._failure(error)
        log.debug("Trying again: %s", "resume" if resumed else "send")
        self._link.metrics.retries += 1
        return None

    async def _find_lost(self, error: FoundryError) -> JsonObject | None:
        """As `_find`; where Foundry does not say what happened, the failure stands."""
        try:
            async with asyncio.timeout(self._deadline.remaining() + LAST_LOOK_SECONDS):
                busy = isinstance(error, ThreadBusyError)
                may_come = error.answer_may_come or self._response_lives or busy
                return await self._find(answer_may_come=may_come)
        except (FoundryError, builtins.TimeoutError) as unknown:
            name = type(unknown).__name__
            log.warning("What Foundry did with a lost request is unknown: %s", name)
            raise self._failure(error) from unknown

    async def _find(self, *, answer_may_come: bool) -> JsonObject | None:
        """The answer to what we sent, if Foundry has it; else the body is made safe to send."""
        self._link.metrics.reconciliations += 1
        patience = min(self._deadline.remaining() * SETTLE_SHARE, self._patience)
        wait = Deadline(patience if answer_may_come else 0.0)
        if self._response_id and self._response_lives and self._body.get("store", True):
            body = await self._link.reconciler.response(self._response_id, wait)
            if body is not None and body.get("status") in ANSWERED:
                return body
            if body is not None:
                self._response_lives, wait = False, Deadline(0.0)
        if self._backing.conversation_id is None:
            return None
        landed = await self._link.reconciler.settle(self._backing, self._sent, wait)
        if landed.passed and not self._may_be_there:  # somebody said the same before
            landed = Landed(landed.items)
        log.debug(
            "Looked behind item %s of %s: %d items, sent=%s answered=%s",
            self._backing.last_item_id,
            self._backing.conversation_id,
            len(landed.items),
            landed.ours,
            landed.is_answered,
        )
        if landed.is_answered:
            return await self._link.reconciler.answer(landed, wait)
        self._prepare(landed)
        return None

    def _prepare(self, landed: Landed) -> None:
        """Send next only what the conversation still lacks."""
        self._arrived = landed.ours
        if landed.ours:
            self._body = {**self._body, "input": []}
            return
        interrupted: list[JsonObject] = [
            {"type": "function_call_output", "call_id": call_id, "output": ABANDONED_CALL}
            for call_id in landed.open_calls
        ]
        self._body = {**self._body, "input": [*interrupted, *self._sent]}
        self._sent = objects_at(self._body, "input")
        if landed.last_item_id:
            self._backing = replace(self._backing, last_item_id=landed.last_item_id)

    def _adopt(self, response: JsonObject) -> Iterator[JsonObject]:
        """The events that an answer found later still owes the caller."""
        text = response_text(response)
        if not text.startswith(self._delivered):
            raise self._failure(ServiceUnavailableError(_INTERRUPTED))
        if self._body.get("stream") and (rest := text.removeprefix(self._delivered)):
            yield {"type": "response.output_text.delta", "delta": rest}
        yield {"type": f"response.{response['status']}", "response": response}

    def _failure(self, error: FoundryError) -> FoundryError:
        """What the caller is told: after a part of the answer, that it broke off."""
        if not self._delivered:
            return error
        return StreamInterruptedError(
            f"{_INTERRUPTED} {error.message}",
            request_id=error.request_id or self.request_id,
            received=self._delivered,
            response_id=self._response_id,
            sequence_number=self._sequence,
        )

    async def _attempt(self) -> AsyncGenerator[JsonObject]:
        """One request, and the events it yields."""
        call = self._next_call()
        self._may_be_there = True
        if not self._body.get("stream"):
            reply = await self._link.transport.send(call, seconds=self._deadline.remaining())
            self.request_id = reply.request_id
            yield self._terminal(f"response.{reply.body.get('status')}", reply.body)
            return
        async with self._link.transport.stream(
            call, silence=self._silence, seconds=self._deadline.remaining()
        ) as stream:
            self.request_id = stream.request_id
            parser = SseParser()
            async for chunk in stream.chunks:
                for data in parser.feed(chunk):
                    if (event := self._read(data)) is None:
                        continue
                    yield event
                    if event["type"] in TERMINAL:
                        return
        raise ServiceUnavailableError(_INTERRUPTED, may_have_run=True, request_id=self.request_id)

    @property
    def _resumes(self) -> bool:
        """Whether the response goes on without us and its stream can be taken up again."""
        return self._response_lives and self._body.get("background") is True

    def _next_call(self) -> Call:
        if not self._resumes:
            return Call("POST", self._link.url, self._body)
        behind: dict[str, str | int] = {"stream": "true", "starting_after": self._sequence}
        return Call("GET", f"{self._link.url}/{self._response_id}", query=behind)

    def _read(self, data: str) -> JsonObject | None:
        """One frame of the stream; None for those that carry no event."""
        if data == "[DONE]":
            return None
        try:
            event = cast("JsonObject", json.loads(data))
            kind = str(event["type"]) if "error" not in event else "error"
            self._sequence = int(event.get("sequence_number", self._sequence))
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceUnavailableError(
                "An event of the stream from Foundry cannot be read.",
                may_have_run=True,
                request_id=self.request_id,
            ) from error
        if kind == "response.created":
            self._response_id = text_at(object_at(event, "response"), "id")
            self._response_lives = self._response_id is not None
        elif kind == "response.output_text.delta":
            self._delivered += str(event.get("delta", ""))
        elif kind == "error":
            self._response_lives = False
            raise error_from_failure(event.get("error") or event, self.request_id)
        elif kind in TERMINAL or kind == "response.failed":
            return self._terminal(kind, object_at(event, "response"))
        return event

    def _terminal(self, kind: str, response: JsonObject) -> JsonObject:
        """The terminal event, unless the response it carries has failed."""
        status = response.get("status")
        if status in {"failed", "cancelled"}:
            self._response_lives = False
            raise error_from_failure(response.get("error"), self.request_id)
        if status not in ANSWERED:
            raise ProtocolError(
                f"Foundry returned a response that is not finished (status {status!r}).",
                request_id=self.request_id,
                may_have_run=True,
            )
        return {"type": kind, "response": response}
