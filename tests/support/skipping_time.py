"""An event loop that never waits: when nothing can run, its time skips to the next timer.

Only for code that waits by the loop's clock and for nothing outside the process.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

_T = TypeVar("_T")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _SkippingSelector(selectors.SelectSelector):
    """Counts the seconds that it should have waited instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.skipped += timeout
        return ready


class _SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._waiting = _SkippingSelector()
        super().__init__(self._waiting)

    def time(self) -> float:
        return super().time() + self._waiting.skipped


def run_skipping(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on a loop that skips all waiting."""
    with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
        return runner.run(main)


class LoopClock:
    """The running loop's time as a moment."""

    def __call__(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())
