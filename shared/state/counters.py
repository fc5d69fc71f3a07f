"""How a counter is declared: once, as a field of the dataclass that holds it.

    reconciliations: int = counter("Lookups of what a lost request had done", Unit.REQUESTS)

All else is derived from the declaration: the property of a row, the sums, and the names in
`/api/metrics`, `/api/usage` and `/api/metrics/prometheus`. Counters that Foundry's client raises
while a turn runs are declared in `TurnEvents`; those read from a turn's record, in
`metering.counts.Counts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any


class Unit(StrEnum):
    """The unit of a counter."""

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
    """The name of the row's property and of the attribute."""
    meaning: str
    unit: Unit
    read: Callable[[Any], int]
    """The amount that a turn adds, given its `TurnRecord`."""
    metrics: str = ""
    """Its name in `/api/metrics`; empty if it is not shown there."""
    usage: str = ""
    """Its name in `/api/usage`; empty if it is not shown there."""
    prometheus: str = ""
    """Its Prometheus metric, without `_total`; empty if it has none."""
    kind: str = ""
    """Its `kind` label, if several counters share a metric."""


def counter(
    meaning: str,
    unit: Unit,
    read: Callable[[Any], int] | None = None,
    **names: str,
) -> Any:
    """Declare a counter as a field of a dataclass; ``names`` are names of `Counter`.

    Without ``read``, the amount is the attribute of the turn's effort with the same name.
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
    """Events that are counted while a turn runs."""

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
        return {name: getattr(self, name) for name in _EVENTS}


_EVENTS = tuple(each.name for each in fields(TurnEvents))
