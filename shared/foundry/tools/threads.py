"""Threads for sync tools.

They are daemons: a tool that never returns keeps neither the event loop nor the end of the
process waiting, as a thread of `concurrent.futures` would.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

SYNC_TOOL_THREADS = 32
"""Sync tools that run at once; one that never returns keeps its place."""


class RaisedInThreadError(Exception):
    """A tool raised what a coroutine may not, such as StopIteration; it is the cause."""


class ToolThreads:
    """Runs functions in threads of their own, with the context of the caller."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(SYNC_TOOL_THREADS)

    async def run(self, function: Callable[[], Any]) -> Any:
        """What ``function`` returns.

        Where the caller is cancelled, the function goes on and its result is ignored.

        Raises:
            RaisedInThreadError: for what it raises that is no ordinary exception.
        """
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: Any, error: Exception | None) -> None:
            self._places.release()
            if outcome.done():  # the caller was cancelled
                return
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function)
            except BaseException as raised:  # noqa: BLE001 - the border of the thread
                error = _passable(raised)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, result, error)

        try:
            threading.Thread(target=work, name="tool", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._places.release()
            raise
        return await outcome


def _passable(error: BaseException) -> Exception:
    """What a future can carry: neither what ends iterations nor what ends event loops."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    passable = RaisedInThreadError(type(error).__name__)
    passable.__cause__ = error
    return passable
