"""Connections that close at the latest when the event loop they live on ends.

A script may end without closing its client. `asyncio.run` ends a loop's asynchronous generators
first, so a generator that waits on the loop closes for it what would else end in complaints.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

Close = Callable[[], Awaitable[None]]


class ClosedWithLoop:
    """Calls functions that close something once: on demand, or else when the loop ends."""

    def __init__(self, *closes: Close) -> None:
        self._closes = closes
        self._waiting: AsyncGenerator[None] | None = None

    async def begin(self) -> None:
        """Let the running loop close it; the first call counts."""
        if self._waiting is None:
            self._waiting = self._wait()
            _OPEN.add(self)
            await anext(self._waiting)

    async def aclose(self) -> None:
        """Close it now."""
        if self._waiting is None:
            await self._close()
        else:
            await self._waiting.aclose()

    async def _wait(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _OPEN.discard(self)
            await self._close()

    async def _close(self) -> None:
        for close in self._closes:
            await close()


_OPEN: set[ClosedWithLoop] = set()
"""Kept from the garbage collector, which a loop that is ending does not wait for."""
