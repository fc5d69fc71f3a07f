"""Sums over turns: counts, tokens, money and histograms.

All are whole numbers (times in microseconds, money in billionths), so sums are exact in any order
and on any number of instances.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Self

from ..state.counters import Counter, TurnEvents, Unit, counter, counters_of
from ..state.table import Value
from ..state.turns import TurnRecord, TurnStatus

FLEET = "$fleet"
"""The scope of all owners together; no owner can have this name."""

MICROS = 1_000_000

MAX_FAILURE_CODES = 50
OTHER_CODES = "other"
"""The code under which failures beyond `MAX_FAILURE_CODES` different codes are counted."""

BOUNDS = tuple(0.0001 * 2 ** (n / 4) for n in range(98))
"""Upper bounds of the buckets in seconds, 0.1 ms to 33 min. Each bound is 19 % higher than the one
before, so every fourth is a power of two times 0.1 ms."""


class View(StrEnum):
    """The dimensions by which turns are summed; each view has its own sums."""

    SERIES = "series"
    """The performance of the service."""
    USAGE = "usage"
    """Usage by owner, department and user."""
    REFUSALS = "refusals"
    """Requests that an owner's limits refused; counted for the fleet only."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions of a key, in order."""
        return _DIMENSIONS[self]

    def key(self, turn: TurnRecord) -> Key:
        """The key of a turn's sum; unknown parts are empty."""
        assert self is not View.REFUSALS  # noqa: S101 - no turn is refused
        by, agent = turn.attribution, turn.agent_id or ""
        if self is View.SERIES:
            return (turn.domain, turn.model, agent, turn.mode.value, by.face or "")
        whose = (turn.owner, by.department or "", by.user_id or "", turn.domain, turn.model)
        return (*whose, by.key_id or "", by.face or "")

    def stored(self, key: Key) -> Key:
        """The form of a key in rows; the dimensions added later are left out if all are empty.

        So a new sum replaces a row from before they existed.
        """
        first = len(self.dimensions) - len(_LATER.intersection(self.dimensions))
        return key if any(key[first:]) else key[:first]

    def read(self, stored: Sequence[str]) -> Key:
        """Read what `stored` returned."""
        return (*stored, *[""] * (len(self.dimensions) - len(stored)))


TURN_VIEWS = (View.SERIES, View.USAGE)

Key = tuple[str, ...]

_DIMENSIONS = {
    View.SERIES: ("domain", "model", "agent", "mode", "face"),
    View.REFUSALS: ("limit",),
    View.USAGE: ("owner", "department", "user_id", "domain", "model", "key", "face"),
}
_LATER = frozenset({"key", "face"})
"""Dimensions that the first rows do not have. They are the last ones of their views."""


class Histogram:
    """How many values fell into each bucket."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts = dict(counts or {})
        """By index in `BOUNDS`; the index after the last counts values beyond the last bound."""

    def add(self, seconds: float) -> None:
        """Count a value."""
        index = bisect_left(BOUNDS, seconds)
        self.counts[index] = self.counts.get(index, 0) + 1

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def merge(self, other: Histogram) -> None:
        """Add the values of another histogram."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def percentile(self, share: float) -> float:
        """The upper bound of the bucket that contains a percentile; ``share`` is 0 to 1.

        It is 0 without values. It is never below the exact value, except beyond the last bound.
        """
        rank = max(math.ceil(share * self.total), 1)
        for index in sorted(self.counts):
            rank -= self.counts[index]
            if rank <= 0:
                return BOUNDS[min(index, len(BOUNDS) - 1)]
        return 0.0

    def to_text(self) -> str:
        """The histogram as JSON text, for a row's property."""
        return json.dumps(dict(sorted(self.counts.items())), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` returned."""
        return cls({int(index): count for index, count in json.loads(text).items()})


def _tokens(name: str) -> Callable[[TurnRecord], int]:
    """A function that returns a turn's tokens of a kind; 0 if Foundry did not report them."""
    return lambda turn: turn.usage.get(name, 0)


Amounts = list[tuple[str, int]]
"""Names of counters, and how much to add to each."""


@dataclass(slots=True)
class Counts(TurnEvents):
    """Sums over turns. Each counter is declared here or in `TurnEvents`, and nowhere else."""

    requests: int = counter(
        "Turns that ended",
        Unit.TURNS,
        lambda _: 1,
        metrics="total_requests",
        usage="requests",
        prometheus="aos_turns",
    )
    succeeded: int = counter(
        "Turns that were answered",
        Unit.TURNS,
        lambda turn: turn.status is TurnStatus.SUCCEEDED,
        metrics="successful_requests",
        prometheus="aos_turns_succeeded",
    )
    failed: int = counter(
        "Turns that failed",
        Unit.TURNS,
        lambda turn: turn.status is TurnStatus.FAILED,
        metrics="failed_requests",
        usage="failed_requests",
    )
    input_tokens: int = counter(
        "Input tokens",
        Unit.TOKENS,
        _tokens("input_tokens"),
        metrics="input_tokens_used",
        usage="input_tokens",
        prometheus="aos_tokens",
        kind="input",
    )
    output_tokens: int = counter(
        "Output tokens",
        Unit.TOKENS,
        _tokens("output_tokens"),
        metrics="output_tokens_used",
        usage="output_tokens",
        prometheus="aos_tokens",
        kind="output",
    )
    cached_tokens: int = counter(
        "Input tokens that came from a cache",
        Unit.TOKENS,
        _tokens("cached_tokens"),
        metrics="cached_tokens_used",
        usage="cached_tokens",
        prometheus="aos_tokens",
        kind="cached",
    )
    total_tokens: int = counter(
        "Input and output tokens",
        Unit.TOKENS,
        _tokens("total_tokens"),
        metrics="total_tokens_used",
        usage="total_tokens",
    )
    unknown_usage: int = counter(
        "Turns that may have used tokens which Foundry did not report",
        Unit.TURNS,
        lambda turn: turn.effort.unreported > 0,
        metrics="unknown_usage",
        usage="requests_of_unknown_usage",
        prometheus="aos_turns_of_unknown_usage",
    )
    cost: int = counter(
        "Cost of the reported tokens that have a price",
        Unit.MONEY,
        lambda turn: turn.effort.cost or 0,
        usage="cost",
        prometheus="aos_cost",
    )
    unknown_cost: int = counter(
        "Turns that may have cost more than is known",
        Unit.TURNS,
        lambda turn: turn.effort.unreported > 0 or turn.effort.cost is None,
        usage="requests_of_unknown_cost",
        prometheus="aos_turns_of_unknown_cost",
    )
    tool_calls: int = counter(
        "Tool calls in turns that succeeded",
        Unit.CALLS,
        metrics="tool_calls",
        prometheus="aos_tool_calls",
    )
    folded_labels: int = counter(
        "Labels of turns that were counted as `other`; see `labels`", Unit.LABELS, lambda _: 0
    )
    latency_micros: int = counter(
        "Time from a turn's start to its answer or error",
        Unit.MICROSECONDS,
        lambda turn: round(turn.latency * MICROS),
    )
    overhead_micros: int = counter(
        "Time in the app", Unit.MICROSECONDS, lambda turn: round(turn.effort.overhead * MICROS)
    )
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """Failed turns by error code."""
    latency: Histogram = field(default_factory=Histogram)
    overhead: Histogram = field(default_factory=Histogram)

    @classmethod
    def counters(cls) -> tuple[Counter, ...]:
        """Every counter, in the order in which they are declared."""
        return counters_of(cls)

    @classmethod
    @cache
    def _names(cls) -> tuple[str, ...]:
        return tuple(each.name for each in cls.counters())

    @classmethod
    def amounts(cls, turn: TurnRecord) -> Amounts:
        """What a turn adds to each counter, without zeros."""
        return [(each.name, n) for each in cls.counters() if (n := each.read(turn))]

    def add(self, turn: TurnRecord, amounts: Amounts | None = None) -> None:
        """Count a turn; a caller that adds it to several sums passes its ``amounts``."""
        for name, amount in self.amounts(turn) if amounts is None else amounts:
            setattr(self, name, getattr(self, name) + amount)
        if turn.status is TurnStatus.FAILED:
            self._fail(turn.error_code or "unknown", 1)
        self.latency.add(turn.latency)
        self.overhead.add(turn.effort.overhead)

    def _fail(self, code: str, count: int) -> None:
        """Count failed turns by code; the number of codes is bounded, because services set them."""
        if code not in self.failures and len(self.failures) >= MAX_FAILURE_CODES:
            code = OTHER_CODES
        self.failures[code] = self.failures.get(code, 0) + count

    def merge(self, other: Self) -> None:
        """Add the counts of other turns."""
        for name in self._names():
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for code, count in other.failures.items():
            self._fail(code, count)
        self.latency.merge(other.latency)
        self.overhead.merge(other.overhead)

    def to_values(self) -> dict[str, Value]:
        """The properties of a row."""
        return {
            **{each.name: getattr(self, each.name) for each in self.counters()},
            "failures": json.dumps(self.failures, sort_keys=True),
            "latency": self.latency.to_text(),
            "overhead": self.overhead.to_text(),
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_values` returned; a counter that was added since is 0."""
        return cls(
            **{each.name: values.get(each.name, 0) for each in cls.counters()},
            failures=json.loads(values["failures"]),
            latency=Histogram.from_text(values["latency"]),
            overhead=Histogram.from_text(values["overhead"]),
        )


Sums = dict[Key, Counts]


def counts_of(sums: Sums, key: Key) -> Counts:
    """The counts of a key; new ones start at zero."""
    if (counts := sums.get(key)) is None:
        counts = sums[key] = Counts()
    return counts


def add_to(sums: Sums, key: Key, counts: Counts) -> None:
    """Add counts to those of their key."""
    counts_of(sums, key).merge(counts)
