"""Bounds the distinct labels of metrics and usage.

Callers choose domain, model, department and user, so each turn may have new ones. For each scope
and day, the first values are kept, up to a limit, and turns with others are counted as `other`.
Instances may have kept different values, so labels are bounded again when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from ..state.turns import TurnRecord
from .counts import FLEET, TURN_VIEWS, Counts, Key, Sums, View, add_to, counts_of
from .rows import Batch, BatchKey, ScopeView, scope_key, start_of_minute

OTHER = "other"
"""The label of all values beyond a limit."""

MAX_OWNER_VALUES = {"domain": 50, "model": 20, "agent": 20, "department": 50, "user_id": 1_000}
MAX_FLEET_VALUES = {"domain": 100, "model": 40, "agent": 40, "department": 100, "user_id": 10_000}
"""Distinct values by dimension; callers cannot choose the other dimensions."""

MAX_OWNER_KEYS = {View.SERIES: 200, View.USAGE: 2_000}
MAX_FLEET_KEYS = {View.SERIES: 200, View.USAGE: 20_000, View.REFUSALS: 20}
"""Distinct combinations of values. One combination of `SERIES` takes up to 30 KB in the Prometheus
text."""


class LabelSet:
    """The values that are kept of one scope and view."""

    def __init__(self, scope_view: ScopeView) -> None:
        self._dimensions = scope_view.view.dimensions
        is_fleet = scope_view.scope == FLEET
        self._max_values = MAX_FLEET_VALUES if is_fleet else MAX_OWNER_VALUES
        self._max_keys = (MAX_FLEET_KEYS if is_fleet else MAX_OWNER_KEYS)[scope_view.view]
        self._values: dict[str, set[str]] = {name: set() for name in self._max_values}
        self._keys: set[Key] = set()

    def fold(self, key: Key) -> Key:
        """The key under which to count, with `other` for values beyond the limits."""
        if key in self._keys:
            return key
        folded = tuple(map(self._kept, self._dimensions, key))
        if folded not in self._keys and len(self._keys) >= self._max_keys:
            return tuple(map(self._nothing_kept, self._dimensions, key))
        self._keys.add(folded)
        return folded

    def keep_first(self, keys: Iterable[Key]) -> None:
        """Keep the first values of each dimension, in alphabetical order."""
        for dimension, values in zip(self._dimensions, zip(*keys, strict=True), strict=False):
            for value in sorted(set(values)):
                self._kept(dimension, value)

    def _kept(self, dimension: str, value: str) -> str:
        kept = self._values.get(dimension)
        if kept is None or not value or value in kept:
            return value
        if len(kept) >= self._max_values[dimension]:
            return OTHER
        kept.add(value)
        return value

    def _nothing_kept(self, dimension: str, value: str) -> str:
        return OTHER if value and dimension in self._values else value


@dataclass(slots=True)
class DayLabels:
    """The values that are kept of a day, by scope and view."""

    day: date = date.min
    _sets: dict[ScopeView, LabelSet] = field(default_factory=dict[ScopeView, LabelSet])

    def count(self, turn: TurnRecord, batch: Batch) -> None:
        """Count a turn in all its sums, in the minute in which it began."""
        minute, amounts = start_of_minute(turn.created_at), Counts.amounts(turn)
        for scope_view, key, folded in self._sums_of(turn):
            counts = counts_of(batch.setdefault(BatchKey(scope_view, minute), {}), key)
            counts.add(turn, amounts)
            counts.folded_labels += folded

    def _sums_of(self, turn: TurnRecord) -> Iterator[tuple[ScopeView, Key, int]]:
        """Yield the sums of a turn: scope and view, key, and how many labels became `other`."""
        if (day := turn.created_at.date()) > self.day:
            self.day = day
            self._sets.clear()
        for view in TURN_VIEWS:
            stated = key = view.key(turn)
            for scope in (scope_key(turn.owner), FLEET):
                key = self._set(ScopeView(scope, view)).fold(key)
                folded = sum(mine != theirs for mine, theirs in zip(stated, key, strict=True))
                yield ScopeView(scope, view), key, folded

    def _set(self, scope_view: ScopeView) -> LabelSet:
        if scope_view not in self._sets:
            self._sets[scope_view] = LabelSet(scope_view)
        return self._sets[scope_view]


def bounded(scope_view: ScopeView, sums: Sums) -> Sums:
    """Bound the labels of sums: those with the most turns are kept, all others become `other`."""
    return _folded_by(_heaviest_first(scope_view, [sums]), sums)


def bounded_days(
    scope_view: ScopeView, days: Iterable[tuple[date, Sums]]
) -> list[tuple[date, Sums]]:
    """Bound the labels of several days' sums, with the same labels on all days."""
    days = list(days)
    labels = _heaviest_first(scope_view, [sums for _, sums in days])
    return [(day, _folded_by(labels, sums)) for day, sums in days]


def bounded_in_order(scope_view: ScopeView, sums: Sums) -> Sums:
    """Bound the labels of sums: the first in alphabetical order are kept.

    A label that became `other` stays so when labels are added, so no sum decreases during a day.
    """
    labels = LabelSet(scope_view)
    labels.keep_first(sums)
    for key in sorted(sums):
        labels.fold(key)
    return _folded_by(labels, sums)


def _heaviest_first(scope_view: ScopeView, parts: Iterable[Sums]) -> LabelSet:
    requests: dict[Key, int] = {}
    for sums in parts:
        for key, counts in sums.items():
            requests[key] = requests.get(key, 0) + counts.requests
    labels = LabelSet(scope_view)
    for key in sorted(requests, key=lambda key: (-requests[key], key)):
        labels.fold(key)
    return labels


def _folded_by(labels: LabelSet, sums: Sums) -> Sums:
    """Add up sums under their bounded keys."""
    folded: Sums = {}
    for key, counts in sums.items():
        add_to(folded, labels.fold(key), counts)
    return folded
