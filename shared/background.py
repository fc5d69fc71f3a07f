"""Work that goes on when whoever asked for it goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Background:
    """Runs work in tasks of its own, which nobody cancels."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for work, which goes on if the wait is cancelled."""
        return await asyncio.shield(self._start(work))

    async def stream(
        self, events: AsyncGenerator[_T], quiet_seconds: float
    ) -> AsyncGenerator[_T | None]:
        """The events as they come, and None after each ``quiet_seconds`` without one.

        They are read to their end even if nobody listens any more.
        """
        told: asyncio.Queue[_T | None] = asyncio.Queue()

        async def read() -> None:
            async for event in events:
                told.put_nowait(event)

        task = self._start(read())
        task.add_done_callback(lambda _: told.put_nowait(None))
        while True:
            try:
                event = await asyncio.wait_for(told.get(), quiet_seconds)
            except TimeoutError:
                yield None
                continue
            if event is None:
                break
            yield event
        await task

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("Work in the background ended with %r", error)

    async def aclose(self) -> None:
        """Wait for what still runs."""
        await asyncio.gather(*self._running, return_exceptions=True)
