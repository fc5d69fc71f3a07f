"""Threads for sync tools.

They are daemon threads, so a tool that never returns blocks neither the event loop nor the exit of
the process; a thread of `concurrent.futures` would block the exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

SYNC_TOOL_THREADS = 32
"""The most sync tools that run at once; one that never returns occupies its thread forever."""


class RaisedInThreadError(Exception):
    """A tool raised an exception that a future cannot carry, such as StopIteration: its cause."""


class ToolThreads:
    """Runs each function in its own thread, with the caller's context variables."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(SYNC_TOOL_THREADS)

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` in a thread, and return its result.

        If the caller is cancelled, the function runs on and its result is ignored.

        Raises:
            RaisedInThreadError: if the function raised StopIteration, or a BaseException that is
                not an Exception.
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
            except BaseException as raised:  # noqa: BLE001 - the outermost call of the thread
                error = _passable(raised)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, result, error)

        try:
            threading.Thread(target=work, name="tool", daemon=True).start()
        except RuntimeError:  # the system cannot start another thread
            self._places.release()
            raise
        return await outcome


def _passable(error: BaseException) -> Exception:
    """Wrap exceptions that a future cannot carry, such as StopIteration and SystemExit."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    passable = RaisedInThreadError(type(error).__name__)
    passable.__cause__ = error
    return passable
