"""Work that goes on when whoever asked for it goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)

QUIET_SECONDS = 15.0
"""A stream that has nothing to tell says so this often, so that nobody takes it for dead."""

_Event = TypeVar("_Event")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Nothing new; the work goes on."""


class Background:
    """Runs work in tasks of its own, which nobody cancels."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for work, which goes on if the wait is cancelled."""
        return await asyncio.shield(self._start(work))

    async def stream(
        self, work: Callable[[Callable[[_Event], None]], Coroutine[Any, Any, _T]]
    ) -> AsyncGenerator[_Event | StillRunning | _T]:
        """What work tells while it runs, and at last what it gives.

        It is called with the function to tell with, and goes on if nobody listens any more.
        """
        told: asyncio.Queue[_Event | None] = asyncio.Queue()
        task = self._start(work(told.put_nowait))
        task.add_done_callback(lambda _: told.put_nowait(None))
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    event = await told.get()
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
        """Wait for what still runs."""
        await asyncio.gather(*self._running, return_exceptions=True)
