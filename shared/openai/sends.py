"""Runs the turn of a request, once per idempotency key, and answers in the form of its API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..http.answers import Answer, Streamed
from ..http.idempotency import Replay, kept_outcome, keyed, once
from ..http.request import Incoming
from ..problems import INTERNAL_ERROR, problem_from
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.table import Change
from ..state.turns import TurnMode
from ..turns.background import StillRunning
from ..turns.body import Body
from ..turns.command import (
    AnsweredTurn,
    EmitProgress,
    Keep,
    Outcome,
    Progress,
    TurnOpened,
    keep_nothing,
)
from ..turns.pipeline import Turns, watch_nothing
from .asked import Ready
from .fields import ignored_header
from .joining import Failed, joined
from .rate_limits import rate_limits

log = logging.getLogger(__name__)

WARNING = "x-budget-warning"


class Frames(Protocol):
    """Makes the frames of one streamed answer."""

    def begin(self, opened: TurnOpened) -> list[bytes]:
        """The frames before the first part of the answer."""
        ...

    def feed(self, event: Progress) -> list[bytes]:
        """The frames of an event of the turn."""
        ...

    def silence(self) -> list[bytes]:
        """The frames that say that the turn still runs."""
        ...

    def fail(self, problem: Mapping[str, Any]) -> list[bytes]:
        """The last frames of a turn that failed with a problem document."""
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """The form of the answers to one request."""

    document: Callable[[AnsweredTurn], dict[str, Any]]
    """The answer as a whole."""
    frames: Callable[[], Frames]
    """The answer as a stream."""
    replay: Replay
    """A stored document as a stream."""
    failed: Failed
    """The stream of a request that failed before its answer began."""
    keep: Keep = keep_nothing
    """More changes for the commit of the turn."""
    watch: EmitProgress = watch_nothing
    """Called with each event of a streamed turn, before its commit."""
    opened: Callable[[TurnOpened], Coroutine[Any, Any, None]] | None = None
    """Awaited while a streamed turn waits for the model."""


@dataclass(frozen=True, slots=True)
class Sends:
    """Runs turns and answers with them."""

    turns: Turns
    keys: IdempotencyKeys

    async def answer(
        self, incoming: Incoming, body: Body, ready: Ready, form: Form
    ) -> Answer | Streamed:
        """Run the turn of a request, or answer as the first time."""
        ignored = ignored_header(ready.ignored)
        streams = ready.command.mode is TurnMode.STREAM

        async def act(claim: Claim | None) -> Answer | Streamed:
            command = replace(ready.command, claim=claim) if claim else ready.command
            answered = kept_outcome(claim, incoming.request_id, form.document)

            def keep(outcome: Outcome) -> Sequence[Change]:
                return [*answered(outcome), *form.keep(outcome)]

            if not streams:
                turn = await self.turns.run(command, keep)
                return Answer(form.document(turn), headers={**ignored, **_about(turn.opened)})
            events = self.turns.stream(command, keep, form.watch)
            return await _streamed(events, form, incoming.request_id, ignored)

        replay = form.replay if streams else None
        request = keyed(incoming, body, replay=replay, joins=True, needs_texts=True)
        if not streams or not request.attempt:
            return await once(self.keys, request, act)
        patient = replace(request, joins_for=ready.command.seconds)
        return await joined(once(self.keys, patient, act), form.failed, incoming.request_id)


async def _streamed(
    events: AsyncGenerator[Progress], form: Form, request_id: str, headers: dict[str, str]
) -> Streamed:
    """A stream that begins when the model does, so that an earlier error has its own status."""
    opened = await anext(events)
    assert isinstance(opened, TurnOpened)  # noqa: S101 - a turn that is not refused begins so
    noting = asyncio.create_task(form.opened(opened)) if form.opened else None
    try:
        first = await anext(events)
    finally:
        if noting is not None:
            await noting
    chunks = _chunks(opened, first, events, form.frames(), request_id)
    return Streamed(chunks, {**headers, **_about(opened)})


async def _chunks(
    opened: TurnOpened,
    first: Progress,
    rest: AsyncGenerator[Progress],
    frames: Frames,
    request_id: str,
) -> AsyncIterator[bytes]:
    for frame in frames.begin(opened):
        yield frame
    try:
        for frame in _frames(frames, first):
            yield frame
        async for event in rest:
            for frame in _frames(frames, event):
                yield frame
    except Exception as error:
        problem = problem_from(error)
        if problem is INTERNAL_ERROR:
            log.exception("Request %s failed while streaming", request_id)
        for frame in frames.fail(problem.to_json(request_id)):
            yield frame


def _frames(frames: Frames, event: Progress) -> list[bytes]:
    return frames.silence() if isinstance(event, StillRunning) else frames.feed(event)


def _about(opened: TurnOpened) -> dict[str, str]:
    """The headers about the budgets of a turn."""
    warning = {WARNING: ", ".join(opened.warnings)} if opened.warnings else {}
    return {**rate_limits(opened.rests), **warning}
