"""Runs work in tasks that continue when their caller disconnects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)

QUIET_SECONDS = 15.0
"""A stream without events sends a keep-alive this often, so that no proxy closes it."""

_Event = TypeVar("_Event")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StillRunning:
    """A keep-alive: there was no new event, and the work continues."""


class Background:
    """Runs work in its own tasks, which are not cancelled with the caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run work and return its result; the work continues if the caller is cancelled."""
        return await asyncio.shield(self._start(work))

    async def stream(
        self, work: Callable[[Callable[[_Event], None]], Coroutine[Any, Any, _T]]
    ) -> AsyncGenerator[_Event | StillRunning | _T]:
        """Yield the events that work emits, then its result.

        ``work`` gets the function that emits an event. It continues if the caller stops reading.
        """
        events: asyncio.Queue[_Event | None] = asyncio.Queue()
        task = self._start(work(events.put_nowait))
        task.add_done_callback(lambda _: events.put_nowait(None))
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    event = await events.get()
            except TimeoutError:
                yield StillRunning()
                continue
            if event is None:
                break
            yield event
        yield await task

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("Work in the background ended with %s", type(error).__name__)

    async def aclose(self) -> None:
        """Wait for all running work."""
        await asyncio.gather(*self._running, return_exceptions=True)
