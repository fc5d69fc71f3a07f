"""How figures stand in their table.

| partition | row key | holds |
|---|---|---|
| scope and day | `minute`, view, HH:MM, source, key | what one instance flushed at once |
| scope and day | `hour`, view, HH, key | the sum of an hour |
| scope | `day`, view, date, key | the sum of a day |

A scope is an owner, or the fleet. The source of a minute row is an instance and the number of its
flush: no two instances write the same row, and to write it again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ..state.days import MAX_TRANSACTION_ROWS, day_partition
from ..state.keys import partition_key
from ..state.table import Change, Operation, Row, Table
from .counts import FLEET, Counts, Key, Sums, View, add_to

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_PAGE_ROWS = 1_000


def scope_key(scope: str) -> str:
    """How a scope is written in partition keys."""
    return FLEET if scope == FLEET else partition_key(scope)


def start_of_hour(moment: datetime) -> datetime:
    """The full hour at or before a moment, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def start_of_minute(moment: datetime) -> datetime:
    """The full minute at or before a moment, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def start_of_day(day: date) -> datetime:
    """The first moment of a day in UTC."""
    return datetime.combine(day, time(), UTC)


def days_between(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A stretch of time cut at each midnight."""
    while start < end:
        midnight = start_of_day(start.date()) + DAY
        yield start, min(midnight, end)
        start = midnight


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the rows of a scope and view stand."""

    scope: str
    """As in partition keys."""
    view: View

    def minute_change(self, minute: datetime, source: str, key: Key, counts: Counts) -> Change:
        """The change that keeps what a source has of a minute."""
        place = f"{minute:%H:%M}|{source}"
        return self._change(f"minute|{self.view}|{place}", key, counts, source=source)

    def hour_changes(self, hour: datetime, sums: Sums) -> list[Change]:
        """The changes that keep the sums of an hour."""
        prefix = f"hour|{self.view}|{hour:%H}"
        return [self._change(prefix, key, counts) for key, counts in sums.items()]

    def day_changes(self, day: date, sums: Sums) -> list[Change]:
        """The changes that keep the sums of a day, in the partition of the scope."""
        prefix = f"day|{self.view}|{day}"
        return [self._change(prefix, key, counts) for key, counts in sums.items()]

    def _change(self, prefix: str, key: Key, counts: Counts, **values: str) -> Change:
        text = json.dumps(key)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        content = {**values, "key": text, **counts.to_values()}
        return Change(Operation.UPSERT, f"{prefix}|{digest}", content)

    async def minutes(self, table: Table, start: datetime, end: datetime) -> list[Row]:
        """The minute rows of a stretch of time within one day."""
        prefix, first = f"minute|{self.view}|", f"{start:%H:%M}"
        last = f"{end:%H:%M}" if end.date() == start.date() else "24:00"
        partition = day_partition(self.scope, start.date())
        return await _scan(table, partition, prefix + first, prefix + last)

    async def hours(self, table: Table, start: datetime, end: datetime) -> list[Row]:
        """The hour rows of a stretch of time within one day."""
        prefix, first = f"hour|{self.view}|", f"{start:%H}"
        last = f"{end:%H}" if end.date() == start.date() else "24"
        partition = day_partition(self.scope, start.date())
        return await _scan(table, partition, prefix + first, prefix + last)

    async def days(self, table: Table, first: date, last: date) -> list[Row]:
        """The day rows from a day to another, both included."""
        prefix = f"day|{self.view}|"
        return await _scan(table, self.scope, f"{prefix}{first}", f"{prefix}{last + DAY}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the counts of a minute are written, their key aside."""

    shelf: Shelf
    minute: datetime

    @property
    def partition(self) -> tuple[str, date]:
        """Scope and day: what is written together."""
        return self.shelf.scope, self.minute.date()


Batch = dict[Place, Sums]
"""Sums of minutes that are not written yet."""


async def _scan(table: Table, partition: str, after: str, before: str) -> list[Row]:
    rows: list[Row] = []
    while page := await table.scan(partition, after, before, limit=_PAGE_ROWS):
        rows += page
        if len(page) < _PAGE_ROWS:
            break
        after = page[-1].row_key
    return rows


def key_of(row: Row) -> Key:
    """The key of the sum that a row holds."""
    return tuple(json.loads(row.values["key"]))


def sums_of(rows: Iterable[Row]) -> Sums:
    """What rows add up to, by key."""
    sums: Sums = {}
    for row in rows:
        add_to(sums, key_of(row), Counts.from_values(row.values))
    return sums


async def write_all(table: Table, partition: str, changes: Sequence[Change]) -> None:
    """Make changes that may be made one after the other, few of them in a transaction."""
    for start in range(0, len(changes), MAX_TRANSACTION_ROWS):
        await table.write(partition, changes[start : start + MAX_TRANSACTION_ROWS])
