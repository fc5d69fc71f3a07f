"""Tables whose partitions are an owner and a day, and which owners have rows on which day.

With the index, reading or removing old days needs no scan of the whole table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from typing import TypeVar

from .errors import RowExistsError, RowMissingError
from .table import Change, Operation, Table

log = logging.getLogger(__name__)

DAYS_PARTITION = "$days"
"""Holds the index."""

SEPARATOR = "!"
"""Between owner and day; in an owner's key it is escaped."""

LAST_KEY = "~"
"""Sorts behind all keys that we make."""

MAX_TRANSACTION_ROWS = 100

_AFTER_SEPARATOR = chr(ord(SEPARATOR) + 1)
_OWNERS_PER_READ = 1_000

MAX_KNOWN = 50_000
"""Owners of a day that are known to be in the index; beyond, it is asked anew."""

OWNERS_AT_ONCE = 32
"""Whose rows are summed up or removed: with some 10 ms a request, 10,000 owners take a minute."""

_Item = TypeVar("_Item")


def day_partition(owner_key: str, day: date) -> str:
    """The partition of an owner's rows of a day."""
    return f"{owner_key}{SEPARATOR}{day.isoformat()}"


async def for_each(items: AsyncIterator[_Item], work: Callable[[_Item], Awaitable[object]]) -> None:
    """Do something for each item, `OWNERS_AT_ONCE` at a time; the first failure ends it all."""

    async def do(item: _Item) -> None:
        await work(item)

    running: set[asyncio.Task[None]] = set()
    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                if len(running) >= OWNERS_AT_ONCE:
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                running.add(group.create_task(do(item)))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


class DayIndex:
    """The owners with rows, by day."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: set[tuple[str, date]] = set()

    async def remember(self, owner_key: str, day: date) -> None:
        """Put an owner with rows on a day into the index; costs nothing the second time."""
        if (owner_key, day) in self._known:
            return
        self._known = {known for known in self._known if known[1] == day}
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        change = Change(Operation.INSERT, f"{day.isoformat()}{SEPARATOR}{owner_key}")
        try:
            await self._table.write(DAYS_PARTITION, [change])
        except RowExistsError:
            log.debug("Another instance has recorded the day already")
        self._known.add((owner_key, day))

    async def owners(self, day: date, after: str = "") -> AsyncIterator[str]:
        """The owners with rows on a day, in order, behind one of them."""
        prefix, end = f"{day}{SEPARATOR}", f"{day}{_AFTER_SEPARATOR}"
        async for row_key in self._indexed(prefix + after, end):
            yield row_key.removeprefix(prefix)

    async def _indexed(self, after: str, end: str) -> AsyncIterator[str]:
        """The keys of the index between two, in order."""
        while rows := await self._table.scan(DAYS_PARTITION, after, end, limit=_OWNERS_PER_READ):
            for row in rows:
                yield row.row_key
            after = rows[-1].row_key

    async def remove_before(self, day: date) -> int:
        """Remove all rows of earlier days; returns how many. Safe to stop and repeat."""
        removed = 0

        async def remove(row_key: str) -> None:
            nonlocal removed
            day_text, _, owner_key = row_key.partition(SEPARATOR)
            rows = await self.empty(day_partition(owner_key, date.fromisoformat(day_text)))
            await self._delete(DAYS_PARTITION, [row_key])
            removed += rows  # not before: others have counted theirs meanwhile

        await for_each(self._indexed("", f"{day}{SEPARATOR}"), remove)
        return removed

    async def empty(self, partition: str) -> int:
        """Remove all rows of a partition; returns how many."""
        removed = 0
        while rows := await self._table.scan(partition, "", LAST_KEY, limit=MAX_TRANSACTION_ROWS):
            await self._delete(partition, [row.row_key for row in rows])
            removed += len(rows)
        return removed

    async def _delete(self, partition: str, row_keys: list[str]) -> None:
        changes = [Change(Operation.DELETE, row_key) for row_key in row_keys]
        try:
            await self._table.write(partition, changes)
        except RowMissingError:
            return  # another instance, or an earlier attempt, was faster: the caller looks again
