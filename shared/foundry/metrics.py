"""The metrics of one client: turns, latency, tokens."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from ..observability.upstream import upstream
from ..state.counters import TurnEvents
from .models import TurnResult

REMEMBERED_LATENCIES = 10_000
"""The number of latest turns that percentiles are computed from."""


class ClientMetrics(TurnEvents):
    """Counts turns as they end. Belongs to one event loop, so plain integers are exact."""

    def __init__(self) -> None:
        super().__init__()
        self._succeeded = 0
        self._failed = 0
        self._in_flight = 0
        self._latency = 0.0
        self._latencies: deque[float] = deque(maxlen=REMEMBERED_LATENCIES)
        self._input_tokens = 0
        self._output_tokens = 0
        self._total_tokens = 0

    @contextmanager
    def turn(self) -> Generator[None]:
        """Count the turn inside the block, and the time it took; one left early has failed."""
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
            seconds = perf_counter() - started
            self._latency += seconds
            self._latencies.append(seconds)

    def retried(self) -> None:
        """Count a request that is sent again, here and for the turn that it is part of."""
        self.retries += 1
        upstream().retries += 1

    def looked_back(self) -> None:
        """Count a look at what a lost request has left in Foundry."""
        self.reconciliations += 1
        upstream().reconciliations += 1

    def waited_for_quota(self) -> None:
        """Count a request that is delayed."""
        self.rate_limit_waits += 1
        upstream().rate_limit_waits += 1

    def used(self, result: TurnResult) -> None:
        """Add the tokens of a finished turn, where the service reported them."""
        self._input_tokens += result.usage.get("input_tokens", 0)
        self._output_tokens += result.usage.get("output_tokens", 0)
        self._total_tokens += result.usage.get("total_tokens", 0)

    def snapshot(self) -> dict[str, int | float]:
        """The metrics since the client was created; latencies in seconds."""
        total = self._succeeded + self._failed
        ordered = sorted(self._latencies)
        return {
            "total_requests": total,
            "successful_requests": self._succeeded,
            "failed_requests": self._failed,
            "in_flight": self._in_flight,
            "average_latency": self._latency / total if total else 0.0,
            "p50_latency": _percentile(ordered, 0.50),
            "p95_latency": _percentile(ordered, 0.95),
            "p99_latency": _percentile(ordered, 0.99),
            "total_tokens_used": self._total_tokens,
            "input_tokens_used": self._input_tokens,
            "output_tokens_used": self._output_tokens,
            **self.events(),
        }


def _percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0
