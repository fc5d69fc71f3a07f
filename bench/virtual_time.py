"""A process whose clock stands still while it computes, and skips to the next timer when it waits.

Ten minutes of waiting take no time, and a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

_T = TypeVar("_T")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _SkippingSelector(selectors.SelectSelector):
    """Adds up the seconds that it should have waited, instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            _SkippingSelector.now += timeout
        return ready


def start() -> None:
    """Replace the process's clock; modules that have imported it already keep the real one."""
    time.monotonic = lambda: _SkippingSelector.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, from the moment 0 on."""
    _SkippingSelector.now = 0.0
    loop_factory = lambda: asyncio.SelectorEventLoop(_SkippingSelector())  # noqa: E731
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


def utc_now() -> datetime:
    """The process's clock as a moment."""
    return START + timedelta(seconds=time.monotonic())
