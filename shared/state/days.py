"""Tables with one partition per owner and day, and the index of owners by day.

With the index, reading or deleting days needs no scan of the whole table.
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
"""The partition of the index."""

SEPARATOR = "!"
"""Separates owner and day; it is escaped in an owner's key."""

LAST_KEY = "~"
"""Sorts after all keys of the app."""

MAX_TRANSACTION_ROWS = 100

_AFTER_SEPARATOR = chr(ord(SEPARATOR) + 1)
_OWNERS_PER_READ = 1_000

MAX_KNOWN = 50_000
"""The most cached index entries of a day; then the cache starts again empty."""

OWNERS_AT_ONCE = 32
"""Owners processed concurrently: at about 10 ms a request, 10,000 owners take a minute."""

_Item = TypeVar("_Item")


def day_partition(owner_key: str, day: date) -> str:
    """The partition of an owner's rows of a day."""
    return f"{owner_key}{SEPARATOR}{day.isoformat()}"


async def for_each(items: AsyncIterator[_Item], work: Callable[[_Item], Awaitable[object]]) -> None:
    """Run ``work`` for each item, `OWNERS_AT_ONCE` at a time; a failure cancels the rest."""

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
    """The index of owners with rows, by day."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: set[tuple[str, date]] = set()

    async def remember(self, owner_key: str, day: date) -> None:
        """Add an owner and day to the index; a cached entry is not written again."""
        if (owner_key, day) in self._known:
            return
        self._known = {known for known in self._known if known[1] == day}
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        change = Change(Operation.INSERT, f"{day.isoformat()}{SEPARATOR}{owner_key}")
        try:
            await self._table.write(DAYS_PARTITION, [change])
        except RowExistsError:
            log.debug("Another instance has already added the day to the index")
        self._known.add((owner_key, day))

    async def owners(self, day: date, after: str = "") -> AsyncIterator[str]:
        """The owners with rows on a day, in order, that sort after ``after``."""
        prefix, end = f"{day}{SEPARATOR}", f"{day}{_AFTER_SEPARATOR}"
        async for row_key in self._indexed(prefix + after, end):
            yield row_key.removeprefix(prefix)

    async def _indexed(self, after: str, end: str) -> AsyncIterator[str]:
        """The row keys of the index between ``after`` and ``end``, in order."""
        while rows := await self._table.scan(DAYS_PARTITION, after, end, limit=_OWNERS_PER_READ):
            for row in rows:
                yield row.row_key
            after = rows[-1].row_key

    async def remove_before(self, day: date) -> int:
        """Delete all rows of earlier days; returns how many. It can be interrupted and repeated."""
        removed = 0

        async def remove(row_key: str) -> None:
            nonlocal removed
            day_text, _, owner_key = row_key.partition(SEPARATOR)
            rows = await self.empty(day_partition(owner_key, date.fromisoformat(day_text)))
            await self._delete(DAYS_PARTITION, [row_key])
            removed += rows  # added after the await, because other tasks change it meanwhile

        await for_each(self._indexed("", f"{day}{SEPARATOR}"), remove)
        return removed

    async def empty(self, partition: str) -> int:
        """Delete all rows of a partition; returns how many."""
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
            return  # another instance or an earlier attempt deleted one; the caller scans again
