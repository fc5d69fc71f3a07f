"""Makes the figures of a day anew from turn rows, which hold all that is summed up in them.

That brings back what a killed process had counted and not written. It reads the whole table of
turns, a thousand rows a request, and may be stopped and run again at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import date, datetime

from ..state.days import DayIndex, day_partition
from ..state.keys import Kind, owner_of
from ..state.lanes import Clock
from ..state.table import Change, Operation, Table
from ..state.turns import COUNTED, TurnRecord
from .counts import View
from .labels import DayLabels
from .roll_up import RollUp
from .rows import DAY, HOUR, Batch, Shelf, start_of_day, write_all

SOURCE = "rebuilt"
"""In place of an instance and its flush."""

SETTLED = HOUR
"""After the end of a day, until all its turns are over and counted."""

_PAGE_ROWS = 1_000
_TURNS = f"{Kind.TURN}:"


class CannotRebuildError(ValueError):
    """Turns of the day may still be counted, or be gone already."""


class Rebuilder:
    """Rebuilds days."""

    def __init__(self, turns: Table, metrics: Table, clock: Clock) -> None:
        self._turns = turns
        self._metrics = metrics
        self._clock = clock
        self._days = DayIndex(metrics)
        self._roll_up = RollUp(metrics, clock)

    async def day(self, day: date, say: Callable[[str], object]) -> int:
        """Rebuild a day by UTC and tell how it goes; returns the number of its turns.

        Raises:
            CannotRebuildError: if turns of the day may still be counted.
        """
        ready = start_of_day(day) + DAY + SETTLED
        if self._clock() < ready:
            raise CannotRebuildError(f"{day} can be rebuilt from {ready:%Y-%m-%d %H:%M} UTC on.")
        batch, turns = await self._sum_up(day, say)
        scopes = {place.shelf.scope for place in batch}
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
        place, seen = ("", ""), 0
        while page := await self._turns.walk(place, limit=_PAGE_ROWS, select=COUNTED):
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
            place = (partition, max(last.row_key, _TURNS))

    async def _replace(self, scope: str, day: date, batch: Batch) -> None:
        """Put the figures of a scope in place of what there is."""
        partition = day_partition(scope, day)
        await self._days.remember(scope, day)
        await self._days.empty(partition)
        for view in View:
            rows = await Shelf(scope, view).days(self._metrics, day, day)
            removals = [Change(Operation.DELETE, row.row_key) for row in rows]
            await write_all(self._metrics, scope, removals)
        changes = [
            place.shelf.minute_change(place.minute, SOURCE, key, counts)
            for place, sums in batch.items()
            if place.shelf.scope == scope
            for key, counts in sums.items()
        ]
        await write_all(self._metrics, partition, changes)
        await self._roll_up.whole_day(scope, day)
