"""Reads from storage that concurrent requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")


class SharedReads(Generic[_Value]):
    """Runs one read at a time for each name. Belongs to one event loop."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[_Value]] = {}

    async def get(self, name: str, read: Callable[[], Coroutine[Any, Any, _Value]]) -> _Value:
        """The result of ``read``, or of the read of this name that runs already.

        A request that is cancelled does not cancel the read of the others.
        """
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.create_task(read())
            running.add_done_callback(lambda task: self._end(name, task))
        return await asyncio.shield(running)

    def forget(self, name: str) -> None:
        """Let the next request read again, because what a running read returns is outdated."""
        self._running.pop(name, None)

    def _end(self, name: str, task: asyncio.Task[_Value]) -> None:
        if self._running.get(name) is task:
            del self._running[name]
        if not task.cancelled():
            task.exception()  # its requests raise it, unless they have all been cancelled

    async def aclose(self) -> None:
        """Cancel running reads."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
