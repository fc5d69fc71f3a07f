"""Counts the calls to Foundry for a request, or a turn in it: waiting time, retries and tokens.

Code that calls Foundry adds to the counts of the current work, which are in a context variable.
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
    """The counts of one request or turn."""

    seconds: float = 0.0
    """Spent waiting for Foundry."""
    unreported: int = 0
    """Requests that may have used tokens which Foundry did not report."""
    usage: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens that Foundry reported, those of failed and incomplete answers included."""
    responses: list[str] = field(default_factory=list[str])
    """Ids of the responses that Foundry made and stores, those of failed attempts included."""

    def add_response(self, response_id: str) -> None:
        """Add the id of a response that Foundry stores."""
        if response_id not in self.responses:
            self.responses.append(response_id)

    def add_usage(self, usage: Mapping[str, int]) -> None:
        """Add the tokens of an answer; without input or output tokens, it counts as unreported."""
        if not {"input_tokens", "output_tokens"} <= usage.keys():
            self.unreported += 1
        for name, count in usage.items():
            self.usage[name] = self.usage.get(name, 0) + count


_current: ContextVar[Upstream | None] = ContextVar("upstream", default=None)


def new_upstream() -> Upstream:
    """Start counting for the request that this task, and the tasks it starts, serve."""
    upstream = Upstream()
    _current.set(upstream)
    return upstream


def upstream() -> Upstream:
    """The counts of the current work; without any, new counts that are discarded."""
    return _current.get() or Upstream()


@contextmanager
def counted() -> Generator[Upstream]:
    """Count a block separately; its seconds are added to the surrounding work as well."""
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
