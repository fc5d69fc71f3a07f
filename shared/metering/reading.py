"""Reads metrics of a window from rows of days, then of hours, then of minutes.

Counts that this process has not written yet are added; those of other instances are at most a
minute late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from ..state.lanes import Clock
from ..state.table import Row, Table
from .counts import Sums, View, add_to
from .labels import bounded, bounded_days, bounded_in_order
from .meter import Meter, Unwritten
from .roll_up import NEVER, rolled_until
from .rows import (
    DAY,
    HOUR,
    ScopeView,
    days_between,
    scope_key,
    start_of_day,
    start_of_hour,
    start_of_minute,
    sums_of,
)

MINUTE = timedelta(minutes=1)


class Window(StrEnum):
    """A period that ends now; it begins at a full minute, hour or day."""

    HOUR = "1h"
    DAY = "24h"
    MONTH = "30d"

    def start(self, now: datetime) -> datetime:
        """When it begins."""
        if self is Window.HOUR:
            return start_of_minute(now) - 59 * MINUTE
        if self is Window.DAY:
            return start_of_hour(now) - 23 * HOUR
        return start_of_day(now.date()) - 29 * DAY


@dataclass(frozen=True, slots=True)
class MetricsReader:
    """Reads the metrics of any scope."""

    table: Table
    meter: Meter
    clock: Clock

    async def window(self, scope: str, view: View, window: Window) -> tuple[datetime, Sums]:
        """The sums of a window by key, and when it begins."""
        now = self.clock()
        start, end = window.start(now), start_of_minute(now) + MINUTE
        scope_view = ScopeView(scope_key(scope), view)
        unwritten = self.meter.unwritten(scope_view)
        rolled = start if window is Window.HOUR else await rolled_until(self.table)
        rows: list[Row] = []
        for part in self._parts(scope_view, start, end, rolled):
            rows += await part
        sums = sums_of(_others(rows, unwritten))
        for minute, key, counts in unwritten.sums:
            if start <= minute < end:
                add_to(sums, key, counts)
        return start, bounded(scope_view, sums)

    async def written_today(self, scope: str, view: View) -> tuple[datetime, Sums]:
        """The sums that all instances have written for today (UTC), and when the day began.

        Unwritten counts of this process are not included, so each instance returns the same sums,
        and they never decrease.
        """
        now = self.clock()
        start, end = start_of_day(now.date()), start_of_minute(now) + MINUTE
        rolled = await rolled_until(self.table)
        scope_view, rows = ScopeView(scope_key(scope), view), list[Row]()
        for part in self._parts(scope_view, start, end, rolled):
            rows += await part
        return start, bounded_in_order(scope_view, sums_of(rows))

    async def by_day(
        self, scope: str, view: View, first: date, last: date
    ) -> list[tuple[date, Sums]]:
        """The sums of each day with turns, from ``first`` to ``last``, both included."""
        scope_view = ScopeView(scope_key(scope), view)
        unwritten = self.meter.unwritten(scope_view)
        rolled = await rolled_until(self.table)
        found: dict[date, list[Row]] = {}
        summed_last = first - DAY if rolled == NEVER else min(last, rolled.date() - DAY)
        if summed_last >= first:
            for row in await scope_view.days(self.table, first, summed_last):
                found.setdefault(date.fromisoformat(row.row_key.split("|")[2]), []).append(row)
        day = max(first, summed_last + DAY)
        while day <= min(last, self.clock().date()):
            start = start_of_day(day)
            for part in self._parts(scope_view, start, start + DAY, rolled):
                found.setdefault(day, []).extend(await part)
            day += DAY
        sums = {day: sums_of(_others(rows, unwritten)) for day, rows in found.items()}
        for minute, key, counts in unwritten.sums:
            if first <= minute.date() <= last:
                add_to(sums.setdefault(minute.date(), {}), key, counts)
        return bounded_days(scope_view, sorted((day, each) for day, each in sums.items() if each))

    def _parts(
        self, scope_view: ScopeView, start: datetime, end: datetime, rolled: datetime
    ) -> Iterator[Awaitable[list[Row]]]:
        """The reads that cover a period, each of the coarsest rows available."""
        summed = min(max(rolled, start), end)
        if start == start_of_day(start.date()) and summed - start >= DAY:
            yield scope_view.days(self.table, start.date(), summed.date() - DAY)
            start = start_of_day(summed.date())
        for begin, stop in days_between(start, end):
            summed = min(max(rolled, begin), stop)
            if summed > begin:
                yield scope_view.hours(self.table, begin, summed)
            if stop > summed:
                yield scope_view.minutes(self.table, summed, stop)


def _others(rows: Iterable[Row], unwritten: Unwritten) -> Iterator[Row]:
    """The rows whose counts this process does not hold itself."""
    for row in rows:
        if not unwritten.holds(row.values.get("source", "")):
            yield row
