"""How a counter is declared: once, as a field of the dataclass that holds it.

    reconciliations: int = counter("Lookups of what a lost request had done", Unit.REQUESTS)

Everything else follows from the declaration: the property of a row, the sum of sums, and the names
in `/api/metrics`, `/api/usage` and `/api/metrics/prometheus`. A counter that Foundry's client
counts while a turn runs is declared in `TurnEvents`; one that is read from a turn's record, in
`metering.counts.Counts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any


class Unit(StrEnum):
    """What one counter counts."""

    TURNS = "turns"
    REQUESTS = "requests"
    CALLS = "calls"
    TOKENS = "tokens"
    MONEY = "billionths of the currency"
    MICROSECONDS = "microseconds"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter's declaration."""

    name: str
    """The property of a row, and the attribute."""
    meaning: str
    unit: Unit
    read: Callable[[Any], int]
    """How much one turn adds, given its record, a `TurnRecord` (which itself has counters)."""
    metrics: str = ""
    """Its name in `/api/metrics`; empty where it is not shown."""
    usage: str = ""
    """Its name in `/api/usage`; empty where it is not shown."""
    prometheus: str = ""
    """Its metric, without `_total`; empty where it has none of its own."""
    kind: str = ""
    """Its `kind` label, where several counters share a metric."""


def counter(
    meaning: str,
    unit: Unit,
    read: Callable[[Any], int] | None = None,
    **names: str,
) -> Any:
    """Declare a counter as a field of a dataclass; ``names`` are those of `Counter`.

    Without ``read``, it is what the turn's effort has under the same name.
    """
    declared = {"meaning": meaning, "unit": unit, "read": read, **names}
    return field(default=0, metadata={Counter: declared})


@cache
def counters_of(holder: type) -> tuple[Counter, ...]:
    """The counters that a dataclass declares or inherits."""
    return tuple(
        Counter(each.name, **_with_reader(each.name, each.metadata[Counter]))
        for each in fields(holder)
        if Counter in each.metadata
    )


def _with_reader(name: str, declared: dict[str, Any]) -> dict[str, Any]:
    def of_effort(turn: Any) -> int:
        return getattr(turn.effort, name)

    return {**declared, "read": declared["read"] or of_effort}


@dataclass(slots=True)
class TurnEvents:
    """What is counted while a turn runs."""

    retries: int = counter(
        "Requests to Foundry that were sent again after a failure",
        Unit.REQUESTS,
        metrics="retries",
        prometheus="aos_retries",
    )
    reconciliations: int = counter(
        "Lookups in Foundry of what a lost request had done",
        Unit.REQUESTS,
        metrics="reconciliations",
        prometheus="aos_reconciliations",
    )
    rate_limit_waits: int = counter(
        "Requests that were delayed because the model deployment's quota was used up",
        Unit.REQUESTS,
        metrics="rate_limit_waits",
        prometheus="aos_rate_limit_waits",
    )

    def events(self) -> dict[str, int]:
        """The counts of events by name."""
        return {each.name: getattr(self, each.name) for each in fields(TurnEvents)}
