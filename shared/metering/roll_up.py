"""Sums minutes up to hours and hours to days, and rebuilds days from turn rows.

Each sum is computed from all finer rows and replaces the previous one, so a run may be repeated, or
run on several instances at once. The last hours are summed up again each time, because an instance
that could not reach storage writes its minutes late.

Turn rows have everything that is counted. Rebuilding a day from them restores the counts that a
killed process had not written. It reads the whole state table, 1,000 rows a request, and may be
stopped and run again at any time.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from functools import partial

from ..state.days import DAYS_PARTITION, LAST_KEY, DayIndex, day_partition, for_each
from ..state.keys import Kind, owner_of
from ..state.lanes import Clock
from ..state.table import EARLIEST_MOMENT, Change, Operation, Table
from ..state.turns import COUNTED, TurnRecord
from .counts import FLEET, TURN_VIEWS, View
from .labels import DayLabels
from .rows import (
    DAY,
    HOUR,
    Batch,
    ScopeView,
    days_between,
    start_of_day,
    start_of_hour,
    sums_of,
    write_all,
)

log = logging.getLogger(__name__)

LATE = 2 * HOUR
"""Minutes that are written later than this are missing from hours and days until a rebuild."""

NEVER = EARLIEST_MOMENT

SOURCE = "rebuilt"
"""The source of rebuilt rows, in place of an instance and the number of its flush."""

SETTLED = HOUR
"""The time after the end of a day in which its last turns end and are counted."""

_PAGE_ROWS = 1_000
_TURNS = f"{Kind.TURN}:"

_PARTITION = "$rolled"
_KEY = "until"


async def rolled_until(table: Table) -> datetime:
    """The full hour up to which all hours are summed up."""
    row = await table.get(_PARTITION, _KEY)
    return row.values["until"] if row else NEVER


class RollUp:
    """Keeps hours and days up to date."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._days = DayIndex(table)

    async def run(self) -> None:
        """Sum up the hours since the last run."""
        until = start_of_hour(self._clock())
        if (start := await self._start(until)) is None:
            return
        for first, last in days_between(start, until):
            sum_up = partial(self._sum_scope, start=first, end=last)
            await for_each(self._days.owners(first.date()), sum_up)
        change = Change(Operation.UPSERT, _KEY, {"until": until})
        await self._table.write(_PARTITION, [change])
        log.info("Summed up the hours from %s to %s", start, until)

    async def _start(self, until: datetime) -> datetime | None:
        """Where to begin: where the last run stopped, or the first day with metrics."""
        rolled = await rolled_until(self._table)
        if rolled != NEVER:
            return min(rolled, until) - LATE
        first = await self._table.scan(DAYS_PARTITION, "", LAST_KEY, limit=1)
        return start_of_day(date.fromisoformat(first[0].row_key[:10])) if first else None

    async def remove_before(self, day: date) -> int:
        """Remove minutes and hours of earlier days that are summed up; returns the rows' number."""
        rolled = await rolled_until(self._table)
        if rolled == NEVER:
            return 0
        return await self._days.remove_before(min(day, (rolled - LATE).date()))

    async def whole_day(self, scope: str, day: date) -> None:
        """Sum up a day that is over."""
        start = start_of_day(day)
        await self._sum_scope(scope, start, start + DAY)

    async def _sum_scope(self, scope: str, start: datetime, end: datetime) -> None:
        for view in View if scope == FLEET else TURN_VIEWS:
            await self._sum(ScopeView(scope, view), start, end)

    async def _sum(self, scope_view: ScopeView, start: datetime, end: datetime) -> None:
        """Sum up the hours of a period within one day, and the day."""
        minutes = await scope_view.minutes(self._table, start, end)
        if not minutes:
            return
        partition = day_partition(scope_view.scope, start.date())
        for hour in sorted({row.row_key.split("|")[2][:2] for row in minutes}):
            rows = (row for row in minutes if row.row_key.split("|")[2].startswith(hour))
            moment = start.replace(hour=int(hour))
            await write_all(self._table, partition, scope_view.hour_changes(moment, sums_of(rows)))
        begin = start_of_day(start.date())
        hours = await scope_view.hours(self._table, begin, begin + DAY)
        changes = scope_view.day_changes(start.date(), sums_of(hours))
        await write_all(self._table, scope_view.scope, changes)


class CannotRebuildError(ValueError):
    """Turns of the day may still be counted, or may be deleted already."""


class Rebuilder:
    """Rebuilds days."""

    def __init__(self, turns: Table, metrics: Table, clock: Clock) -> None:
        self._turns = turns
        self._metrics = metrics
        self._clock = clock
        self._days = DayIndex(metrics)
        self._roll_up = RollUp(metrics, clock)

    async def day(self, day: date, say: Callable[[str], object]) -> int:
        """Rebuild a day (UTC) and report progress to ``say``; returns the number of its turns.

        Raises:
            CannotRebuildError: if turns of the day may still be counted.
        """
        ready = start_of_day(day) + DAY + SETTLED
        if self._clock() < ready:
            raise CannotRebuildError(f"{day} can be rebuilt from {ready:%Y-%m-%d %H:%M} UTC on.")
        batch, turns = await self._sum_up(day, say)
        scopes = {batch_key.scope_view.scope for batch_key in batch}
        async for scope in self._days.owners(day):
            scopes.add(scope)
        for number, scope in enumerate(sorted(scopes), start=1):
            await self._replace(scope, day, batch)
            say(f"{number} of {len(scopes)} owners written")
        return turns

    async def _sum_up(self, day: date, say: Callable[[str], object]) -> tuple[Batch, int]:
        batch: Batch = {}
        labels = DayLabels()
        turns = 0
        async for turn in self._turns_of(day, say):
            turns += 1
            labels.count(turn, batch)
        return batch, turns

    async def _turns_of(self, day: date, say: Callable[[str], object]) -> AsyncIterator[TurnRecord]:
        """The turns of a day; an owner's other rows, which come before them, are skipped."""
        begin, end = start_of_day(day), start_of_day(day) + DAY
        cursor, seen = ("", ""), 0
        while page := await self._turns.walk(cursor, limit=_PAGE_ROWS, select=COUNTED):
            for partition, row in page:
                if not partition.startswith("$") and row.row_key.startswith(_TURNS):
                    created_at: datetime = row.values["created_at"]
                    if begin <= created_at < end:
                        yield TurnRecord.from_row(owner_of(partition), row)
            seen += len(page)
            say(f"{seen} rows read")
            if len(page) < _PAGE_ROWS:
                break
            partition, last = page[-1]
            cursor = (partition, max(last.row_key, _TURNS))

    async def _replace(self, scope: str, day: date, batch: Batch) -> None:
        """Replace the rows of a scope and day."""
        partition = day_partition(scope, day)
        await self._days.remember(scope, day)
        await self._days.empty(partition)
        for view in View:
            rows = await ScopeView(scope, view).days(self._metrics, day, day)
            removals = [Change(Operation.DELETE, row.row_key) for row in rows]
            await write_all(self._metrics, scope, removals)
        changes = [
            batch_key.scope_view.minute_change(batch_key.minute, SOURCE, key, counts)
            for batch_key, sums in batch.items()
            if batch_key.scope_view.scope == scope
            for key, counts in sums.items()
        ]
        await write_all(self._metrics, partition, changes)
        await self._roll_up.whole_day(scope, day)
