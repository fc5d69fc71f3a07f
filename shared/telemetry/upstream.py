"""How much of a request's time went into waiting for Foundry, which is not ours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter


class Stopwatch:
    """Adds up the time of one request that was spent waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0


_current: ContextVar[Stopwatch | None] = ContextVar("upstream_stopwatch", default=None)


def new_stopwatch() -> Stopwatch:
    """Start counting for the request that this task, and the tasks it starts, serve."""
    stopwatch = Stopwatch()
    _current.set(stopwatch)
    return stopwatch


@contextmanager
def waiting() -> Generator[None]:
    """Count the time of the block as waiting."""
    stopwatch, started = _current.get(), perf_counter()
    try:
        yield
    finally:
        if stopwatch is not None:
            stopwatch.seconds += perf_counter() - started
