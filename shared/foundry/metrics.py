"""The figures of one client: how often, how fast, how many tokens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from .models import TurnResult


class ClientMetrics:
    """Counts turns as they end. Belongs to one event loop, so plain integers are exact."""

    def __init__(self) -> None:
        self._succeeded = 0
        self._failed = 0
        self._in_flight = 0
        self._latency = 0.0
        self._tokens = 0

    @contextmanager
    def turn(self) -> Generator[None]:
        """Count the turn inside the block, and the time it took."""
        started = perf_counter()
        self._in_flight += 1
        try:
            yield
        except BaseException:
            self._failed += 1
            raise
        else:
            self._succeeded += 1
        finally:
            self._in_flight -= 1
            self._latency += perf_counter() - started

    def used(self, result: TurnResult) -> None:
        """Add the tokens of a finished turn, where the service reported them."""
        self._tokens += result.usage.get("total_tokens", 0)

    def snapshot(self) -> dict[str, int | float]:
        """The figures since the client was made; latency in seconds."""
        total = self._succeeded + self._failed
        return {
            "total_requests": total,
            "successful_requests": self._succeeded,
            "failed_requests": self._failed,
            "in_flight": self._in_flight,
            "average_latency": self._latency / total if total else 0.0,
            "total_tokens_used": self._tokens,
        }
