"""Sums over turns that can be added to each other: counts, tokens, money and histograms.

All of them are whole numbers, so it does not matter in which order, on which instance and in how
many steps turns are added up; seconds are kept as microseconds, money as billionths.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from ..state.table import Value
from ..state.turns import TurnRecord, TurnStatus

FLEET = "$fleet"
"""The scope of all owners together; no owner has this name."""

MICROS = 1_000_000

MAX_FAILURE_CODES = 50
OTHER_CODES = "other"
"""Stands for error codes beyond so many."""

BOUNDS = tuple(0.0001 * 2 ** (n / 4) for n in range(98))
"""Upper ends of the buckets in seconds, 0.1 ms to 33 min; each is 19 % wider than the one before.
Every fourth is a power of two times 0.1 ms."""


class View(StrEnum):
    """By what turns are told apart; each view is a set of sums of its own."""

    SERIES = "series"
    """How the service does."""
    USAGE = "usage"
    """Who used what."""
    REFUSALS = "refusals"
    """Requests that an owner's limits did not allow; of the fleet only, and not of turns."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of what makes the key of a sum."""
        return _DIMENSIONS[self]

    def key(self, turn: TurnRecord) -> Key:
        """The key of the sum that a turn belongs to; what is not known is empty."""
        assert self is not View.REFUSALS  # noqa: S101 - no turn is refused
        if self is View.SERIES:
            return (turn.domain, turn.model, turn.agent_id or "", turn.mode.value)
        whom = turn.attribution
        return (turn.owner, whom.department or "", whom.user_id or "", turn.domain, turn.model)


TURN_VIEWS = (View.SERIES, View.USAGE)

Key = tuple[str, ...]

_DIMENSIONS = {
    View.SERIES: ("domain", "model", "agent", "mode"),
    View.REFUSALS: ("limit",),
    View.USAGE: ("owner", "department", "user_id", "domain", "model"),
}


class Histogram:
    """How many values fell into each bucket."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts = dict(counts or {})
        """By index in `BOUNDS`; the one behind the last holds what is beyond."""

    def add(self, seconds: float) -> None:
        """Count a value."""
        index = bisect_left(BOUNDS, seconds)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Count all that another one counted."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def percentile(self, share: float) -> float:
        """The upper end of the bucket of the smallest value that ``share`` do not exceed.

        0 without values; never below the exact value, except beyond the last bound.
        """
        rank = max(math.ceil(share * sum(self.counts.values())), 1)
        for index in sorted(self.counts):
            rank -= self.counts[index]
            if rank <= 0:
                return BOUNDS[min(index, len(BOUNDS) - 1)]
        return 0.0

    def to_text(self) -> str:
        """As a property holds it."""
        return json.dumps(dict(sorted(self.counts.items())), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` gave."""
        return cls({int(index): count for index, count in json.loads(text).items()})


@dataclass(slots=True)
class Counts:
    """Sums over turns."""

    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    unknown_usage: int = 0
    """Turns that may have used tokens which nobody reported."""
    cost: int = 0
    """Of the tokens that are known and have a price, in billionths of the currency."""
    unknown_cost: int = 0
    """Turns that may have cost more than is known."""
    retries: int = 0
    reconciliations: int = 0
    rate_limit_waits: int = 0
    tool_calls: int = 0
    folded_labels: int = 0
    """Labels of turns that were counted as `other`; see `labels`."""
    latency_micros: int = 0
    overhead_micros: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """Failed turns by error code."""
    latency: Histogram = field(default_factory=Histogram)
    overhead: Histogram = field(default_factory=Histogram)

    def add(self, turn: TurnRecord) -> None:
        """Count a turn."""
        effort, usage = turn.effort, turn.usage
        self.requests += 1
        if turn.status is TurnStatus.SUCCEEDED:
            self.succeeded += 1
        else:
            code = turn.error_code or "unknown"
            self.failed += 1
            self._fail(code, 1)
        self.input_tokens += usage.get("input_tokens", 0)
        self.output_tokens += usage.get("output_tokens", 0)
        self.total_tokens += usage.get("total_tokens", 0)
        self.cached_tokens += usage.get("cached_tokens", 0)
        self.unknown_usage += effort.unreported > 0
        self.cost += effort.cost or 0
        self.unknown_cost += effort.unreported > 0 or effort.cost is None
        self.retries += effort.retries
        self.reconciliations += effort.reconciliations
        self.rate_limit_waits += effort.rate_limit_waits
        self.tool_calls += effort.tool_calls
        self.latency_micros += round(turn.latency * MICROS)
        self.overhead_micros += round(effort.overhead * MICROS)
        self.latency.add(turn.latency)
        self.overhead.add(effort.overhead)

    def _fail(self, code: str, count: int) -> None:
        """Count failed turns; codes come from services, so there may be any number of them."""
        if code not in self.failures and len(self.failures) >= MAX_FAILURE_CODES:
            code = OTHER_CODES
        self.failures[code] = self.failures.get(code, 0) + count

    def merge(self, other: Counts) -> None:
        """Add what other turns came to."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for code, count in other.failures.items():
            self._fail(code, count)
        self.latency.merge(other.latency)
        self.overhead.merge(other.overhead)

    def to_values(self) -> dict[str, Value]:
        """As properties of a row."""
        values: dict[str, Value] = {name: getattr(self, name) for name in _COUNTS}
        return values | {
            "failures": json.dumps(self.failures, sort_keys=True),
            "latency": self.latency.to_text(),
            "overhead": self.overhead.to_text(),
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_values` gave; a count that did not exist yet is 0."""
        return cls(
            **{name: values.get(name, 0) for name in _COUNTS},
            failures=json.loads(values["failures"]),
            latency=Histogram.from_text(values["latency"]),
            overhead=Histogram.from_text(values["overhead"]),
        )


_COUNTS = tuple(each.name for each in fields(Counts) if each.type == "int")

Sums = dict[Key, Counts]


def add_to(sums: Sums, key: Key, figures: Counts) -> None:
    """Add figures to those of their key."""
    kept = sums.get(key)
    if kept is None:
        kept = sums[key] = Counts()
    kept.merge(figures)
