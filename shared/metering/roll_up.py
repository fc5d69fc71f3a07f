"""Sums minutes up to hours, and hours to days.

Each sum is made anew from all finer rows and put in place of the one before, so it does not
matter how often, or on how many instances at once, that happens. The last hours are summed once
more each time: an instance that could not write for a while is late with its minutes.
"""

from __future__ import annotations

import logging
from datetime import date, datetime
from functools import partial

from ..state.days import DAYS_PARTITION, LAST_KEY, DayIndex, day_partition, for_each
from ..state.lanes import Clock
from ..state.table import EARLIEST_MOMENT, Change, Operation, Table
from .counts import FLEET, TURN_VIEWS, View
from .rows import (
    DAY,
    HOUR,
    Shelf,
    days_between,
    start_of_day,
    start_of_hour,
    sums_of,
    write_all,
)

log = logging.getLogger(__name__)

LATE = 2 * HOUR
"""Minutes that come later than this are not in hours and days until the day is rebuilt."""

NEVER = EARLIEST_MOMENT

_PARTITION = "$rolled"
_KEY = "until"


async def rolled_until(table: Table) -> datetime:
    """The full hour before which all hours are summed up."""
    row = await table.get(_PARTITION, _KEY)
    return row.values["until"] if row else NEVER


class RollUp:
    """Keeps hours and days up to date."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._days = DayIndex(table)

    async def run(self) -> None:
        """Sum up what has come since the last run."""
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
        """Where to begin: where the last run stopped, or with the first day there is."""
        rolled = await rolled_until(self._table)
        if rolled != NEVER:
            return min(rolled, until) - LATE
        first = await self._table.scan(DAYS_PARTITION, "", LAST_KEY, limit=1)
        return start_of_day(date.fromisoformat(first[0].row_key[:10])) if first else None

    async def remove_before(self, day: date) -> int:
        """Remove minutes and hours of earlier days that are summed up; returns how many rows."""
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
            await self._sum(Shelf(scope, view), start, end)

    async def _sum(self, shelf: Shelf, start: datetime, end: datetime) -> None:
        """Sum up the hours of a stretch within a day, and the day."""
        minutes = await shelf.minutes(self._table, start, end)
        if not minutes:
            return
        partition = day_partition(shelf.scope, start.date())
        for hour in sorted({row.row_key.split("|")[2][:2] for row in minutes}):
            rows = (row for row in minutes if row.row_key.split("|")[2].startswith(hour))
            moment = start.replace(hour=int(hour))
            await write_all(self._table, partition, shelf.hour_changes(moment, sums_of(rows)))
        begin = start_of_day(start.date())
        hours = await shelf.hours(self._table, begin, begin + DAY)
        changes = shelf.day_changes(start.date(), sums_of(hours))
        await write_all(self._table, shelf.scope, changes)
