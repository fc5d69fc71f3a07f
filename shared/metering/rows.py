"""How metrics are stored in their table.

| partition | row key | holds |
|---|---|---|
| scope and day | `minute`, view, HH:MM, source, key | the counts of one flush of an instance |
| scope and day | `hour`, view, HH, key | the sum of an hour |
| scope | `day`, view, date, key | the sum of a day |

A scope is an owner, or the fleet. The source of a minute row is an instance and the number of its
flush: no two instances write the same row, and writing it again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ..state.days import MAX_TRANSACTION_ROWS, SEPARATOR, day_partition
from ..state.keys import partition_key
from ..state.row_deletion import LAST_CHARACTER, delete_rows
from ..state.table import Change, Operation, Row, Table
from .counts import FLEET, Counts, Key, Sums, View, add_to

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_PAGE_ROWS = 1_000


def scope_key(scope: str) -> str:
    """The form of a scope in partition keys."""
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
    """A period, split at each midnight."""
    while start < end:
        midnight = start_of_day(start.date()) + DAY
        yield start, min(midnight, end)
        start = midnight


@dataclass(frozen=True, slots=True)
class ScopeView:
    """A scope and a view, and the rows with their counts."""

    scope: str
    """In the form of partition keys."""
    view: View

    def minute_change(self, minute: datetime, source: str, key: Key, counts: Counts) -> Change:
        """The change that writes the counts of a source and minute."""
        prefix = f"minute|{self.view}|{minute:%H:%M}|{source}"
        return self._change(prefix, key, counts, source=source)

    def hour_changes(self, hour: datetime, sums: Sums) -> list[Change]:
        """The changes that write the sums of an hour."""
        prefix = f"hour|{self.view}|{hour:%H}"
        return [self._change(prefix, key, counts) for key, counts in sums.items()]

    def day_changes(self, day: date, sums: Sums) -> list[Change]:
        """The changes that write the sums of a day, in the partition of the scope."""
        prefix = f"day|{self.view}|{day}"
        return [self._change(prefix, key, counts) for key, counts in sums.items()]

    def _change(self, prefix: str, key: Key, counts: Counts, **values: str) -> Change:
        text = json.dumps(self.view.stored(key))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        content = {**values, "key": text, **counts.to_values()}
        return Change(Operation.UPSERT, f"{prefix}|{digest}", content)

    async def minutes(self, table: Table, start: datetime, end: datetime) -> list[Row]:
        """The minute rows of a period within one day."""
        prefix, first = f"minute|{self.view}|", f"{start:%H:%M}"
        last = f"{end:%H:%M}" if end.date() == start.date() else "24:00"
        partition = day_partition(self.scope, start.date())
        return await _scan(table, partition, prefix + first, prefix + last)

    async def hours(self, table: Table, start: datetime, end: datetime) -> list[Row]:
        """The hour rows of a period within one day."""
        prefix, first = f"hour|{self.view}|", f"{start:%H}"
        last = f"{end:%H}" if end.date() == start.date() else "24"
        partition = day_partition(self.scope, start.date())
        return await _scan(table, partition, prefix + first, prefix + last)

    async def days(self, table: Table, first: date, last: date) -> list[Row]:
        """The day rows from a day to another, both included."""
        prefix = f"day|{self.view}|"
        return await _scan(table, self.scope, f"{prefix}{first}", f"{prefix}{last + DAY}")


@dataclass(frozen=True, slots=True)
class BatchKey:
    """A scope and view in one minute."""

    scope_view: ScopeView
    minute: datetime

    @property
    def partition(self) -> tuple[str, date]:
        """Scope and day, which are the partition that a batch is written to."""
        return self.scope_view.scope, self.minute.date()


Batch = dict[BatchKey, Sums]
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
    return View(row.row_key.split("|")[1]).read(json.loads(row.values["key"]))


def sums_of(rows: Iterable[Row]) -> Sums:
    """The sums of rows, by key."""
    sums: Sums = {}
    for row in rows:
        add_to(sums, key_of(row), Counts.from_values(row.values))
    return sums


async def write_all(table: Table, partition: str, changes: Sequence[Change]) -> None:
    """Write changes, in several transactions if they are too many for one."""
    for start in range(0, len(changes), MAX_TRANSACTION_ROWS):
        await table.write(partition, changes[start : start + MAX_TRANSACTION_ROWS])


async def remove_owner(table: Table, owner: str, before: datetime) -> int:
    """Delete an owner's metrics, and its rows in the fleet's usage.

    The fleet's metrics by model and domain, which do not name the owner, are kept. Minutes after
    ``before`` are kept too; hours and days that are not over are summed up again from them.
    """
    minute = f"{before:%Y-%m-%d %H:%M}"

    def is_owners(partition: str, row: Row) -> bool:
        if not partition.startswith(FLEET):
            return _is_earlier(partition, row, minute)
        of_owner = row.row_key.split("|")[1] == View.USAGE and key_of(row)[0] == owner
        return of_owner and _is_earlier(partition, row, minute)

    removed = 0
    for scope in (scope_key(owner), FLEET):
        cursor = (scope, "")
        while page := await table.walk(cursor, limit=_PAGE_ROWS, select=("key",)):
            of_scope = [
                (partition, row)
                for partition, row in page
                if partition == scope or partition.startswith(f"{scope}{SEPARATOR}")
            ]
            removed += await _delete(table, [each for each in of_scope if is_owners(*each)])
            partition, last = page[-1]
            cursor = (partition, last.row_key)
            if partition > f"{scope}{SEPARATOR}{LAST_CHARACTER}":
                break
    return removed


def _is_earlier(partition: str, row: Row, minute: str) -> bool:
    """Whether a row is a sum of minutes, or of a minute up to ``minute``."""
    parts = row.row_key.split("|")
    _, _, day = partition.rpartition(SEPARATOR)
    return parts[0] != "minute" or f"{day} {parts[2]}" <= minute


async def _delete(table: Table, found: list[tuple[str, Row]]) -> int:
    by_partition: dict[str, list[str]] = {}
    for partition, row in found:
        by_partition.setdefault(partition, []).append(row.row_key)
    deleted = 0
    for partition, keys in by_partition.items():
        for start in range(0, len(keys), 100):
            deleted += await delete_rows(table, partition, keys[start : start + 100])
    return deleted
