"""The events of a streamed turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from .models import ClientCall, TurnResult
from .wire_json import JsonObject


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """Foundry has begun to answer."""

    response_id: str


@dataclass(frozen=True, slots=True)
class MessageDelta:
    """A piece of the answer's text, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool is being used, by Foundry or by us."""

    name: str
    call_id: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool has been used."""

    name: str
    call_id: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class ClientCallStarted:
    """The model begins to call a function that the caller runs."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ClientCallDelta:
    """A piece of the arguments' JSON text, in order."""

    call_id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ClientCallFinished:
    """The arguments of a call are complete; the call is in the turn's result."""

    call: ClientCall


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The turn is over; always the last event."""

    result: TurnResult


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event of the service that has no type here, as it came."""

    body: JsonObject


TurnEvent: TypeAlias = (
    TurnStarted
    | MessageDelta
    | ToolStarted
    | ToolFinished
    | ClientCallStarted
    | ClientCallDelta
    | ClientCallFinished
    | TurnCompleted
    | OtherEvent
)

Emit = Callable[[TurnEvent], None]
"""Called with each event of a turn while it runs; must not block."""


def ignore(_event: TurnEvent) -> None:
    """Drop the event: the caller wants the result only."""


_Event = TypeVar("_Event")
_Result = TypeVar("_Result")


async def events_of(
    run: Callable[[Callable[[_Event], None]], Awaitable[_Result]],
) -> AsyncGenerator[_Event | _Result]:
    """Run a turn in a task and yield its events as they are emitted, and its result last.

    Closing the generator cancels the turn and waits until it has ended, so its connection is
    closed at once. The turn reads on while the consumer is busy; what it has read is queued.

    Raises:
        Exception: what ``run`` raises, after the events that came before.
    """
    queue: asyncio.Queue[_Event | None] = asyncio.Queue()

    async def turn() -> _Result:
        try:
            return await run(queue.put_nowait)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(turn())
    try:
        while (event := await queue.get()) is not None:
            yield event
        yield await task
    finally:
        await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a turn that still runs and wait for its end.

    Raises:
        Exception: what the turn raises when it is cancelled, if not the cancellation itself.
    """
    if task.done():
        return
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
