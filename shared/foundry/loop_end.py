"""Objects that belong to one event loop: used on another they raise, and they close with their own.

A script may end without closing its client. `asyncio.run` closes a loop's asynchronous generators
at its end, so a suspended generator closes the client there; otherwise Python would warn about open
connections.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable

Close = Callable[[], Awaitable[None]]

_OTHER_LOOP = (
    "This object belongs to the event loop that first used it, and connections cannot move to "
    "another. Make a new one inside each asyncio.run(), or do all the work in one asyncio.run()."
)

_FORKED = (
    "This object was first used in another process, and connections do not survive a fork. Make a "
    "new one in each process, after the fork."
)


class Home:
    """The event loop and the process in which something was first used."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process_id = 0

    def enter(self) -> None:
        """Check that the running loop is the one of the first call.

        Raises:
            RuntimeError: saying what to do, on another loop or in a fork of the process.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nothing is sent without a loop
            return
        if self._loop is None:
            self._loop, self._process_id = loop, os.getpid()
        elif self._process_id != os.getpid():
            raise RuntimeError(_FORKED)
        elif self._loop is not loop:
            raise RuntimeError(_OTHER_LOOP)


class ClosedWithLoop:
    """Calls functions that close something once: on demand, or else when the loop ends."""

    def __init__(self, *closes: Close) -> None:
        self._closes = closes
        self._home = Home()
        self._waiting: AsyncGenerator[None] | None = None
        self._closed = False

    async def begin(self) -> None:
        """Have it closed when the running loop ends; later calls only check the loop.

        Raises:
            RuntimeError: on another event loop than before, or in a fork of the process.
        """
        self._home.enter()
        if self._waiting is None:
            self._waiting = self._wait()
            _OPEN.add(self)
            await anext(self._waiting)

    async def aclose(self) -> None:
        """Close it now.

        Raises:
            RuntimeError: if it is open on another event loop, or in another process.
        """
        if self._waiting is None:
            await self._close()
        elif not self._closed:
            self._home.enter()
            await self._waiting.aclose()

    async def _wait(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._closed = True
            _OPEN.discard(self)
            await self._close()

    async def _close(self) -> None:
        for close in self._closes:
            await close()


_OPEN: set[ClosedWithLoop] = set()
"""References that keep open objects from the garbage collector until their loop ends."""
