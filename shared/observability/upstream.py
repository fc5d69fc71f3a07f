"""What a request, or a turn within it, had to do with Foundry: how long it waited, what it used.

Whatever waits for Foundry adds to the count of the work that it is done for, wherever that began.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from ..state.counters import TurnEvents


@dataclass(slots=True)
class Upstream(TurnEvents):
    """What one piece of work had to do with Foundry."""

    seconds: float = 0.0
    """Spent waiting for Foundry, which is not our doing."""
    unreported: int = 0
    """Requests that may have used tokens which Foundry did not report."""
    usage: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens that Foundry reported, those of failed and half-way answers included."""
    responses: list[str] = field(default_factory=list[str])
    """Ids of the responses that Foundry made and stores, those of failed attempts included."""

    def made(self, response_id: str) -> None:
        """Note a response that Foundry stores."""
        if response_id not in self.responses:
            self.responses.append(response_id)

    def heard(self, usage: Mapping[str, int]) -> None:
        """Add the tokens of an answer; one that does not tell both kinds leaves them unknown."""
        if not {"input_tokens", "output_tokens"} <= usage.keys():
            self.unreported += 1
        for name, count in usage.items():
            self.usage[name] = self.usage.get(name, 0) + count


_current: ContextVar[Upstream | None] = ContextVar("upstream", default=None)


def new_stopwatch() -> Upstream:
    """Start counting for the request that this task, and the tasks it starts, serve."""
    upstream = Upstream()
    _current.set(upstream)
    return upstream


def upstream() -> Upstream:
    """The count that is being kept; one that nobody reads where none is."""
    return _current.get() or Upstream()


@contextmanager
def counted() -> Generator[Upstream]:
    """Count the block by itself; its seconds still count for what it is part of."""
    outer, inner = _current.get(), Upstream()
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)
        if outer is not None:
            outer.seconds += inner.seconds


@contextmanager
def waiting() -> Generator[None]:
    """Count the time of the block as waiting."""
    current, started = upstream(), perf_counter()
    try:
        yield
    finally:
        current.seconds += perf_counter() - started
