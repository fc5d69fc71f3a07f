"""Writes changes of several callers in one transaction, if they wait at the same time.

A first caller's changes are written at once. Those that arrive in the same partition meanwhile wait
until that write has ended, at most `MAX_WAIT_SECONDS`, and are then written together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field

from .errors import StateError, StorageUnavailableError
from .table import Change, Table

MAX_WAIT_SECONDS = 0.005

MAX_ROWS = 100
"""In one transaction of Table Storage."""

MAX_CALLERS = 10
"""In one transaction, which takes 4 MiB; the longest question and answer in a row are 128 KiB.
If a caller has more, the service refuses the transaction, and each caller's is tried alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The changes of one caller."""

    changes: Sequence[Change]
    written: asyncio.Future[None]


@dataclass(slots=True)
class _Partition:
    """The callers that wait for a partition, in order."""

    waiting: list[_Waiting] = field(default_factory=list[_Waiting])
    writes: int = 0
    """Transactions under way."""
    timer: asyncio.TimerHandle | None = None


class GroupCommit:
    """Groups the changes of callers that depend on no row of each other."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._partitions: dict[str, _Partition] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, partition: str, changes: Sequence[Change]) -> None:
        """Apply all changes of a caller or none, whatever happens to those of others.

        Raises:
            The errors of `Table.write`, about these changes.
        """
        place = self._partitions.get(partition)
        if place is not None:
            await self._join(partition, place, changes)
            return
        place = self._partitions[partition] = _Partition(writes=1)
        try:
            await self._table.write(partition, changes)
        finally:
            self._ended(partition, place)

    async def _join(self, partition: str, place: _Partition, changes: Sequence[Change]) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(changes, loop.create_future())
        place.waiting.append(waiting)
        if place.timer is None:
            place.timer = loop.call_later(MAX_WAIT_SECONDS, self._start, partition, place)
        await waiting.written

    def _ended(self, partition: str, place: _Partition) -> None:
        """Note the end of a transaction, and write for those that waited for it."""
        place.writes -= 1
        if place.waiting:
            self._start(partition, place)
        elif not place.writes:
            del self._partitions[partition]

    def _start(self, partition: str, place: _Partition) -> None:
        """Write for all that wait, in as few transactions as possible."""
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None
        while place.waiting:
            group = _first_group(place.waiting)
            del place.waiting[: len(group)]
            place.writes += 1
            # an empty context: the write serves many callers, so it is in no trace or log of one
            task = asyncio.create_task(self._write(partition, place, group), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _write(self, partition: str, place: _Partition, group: list[_Waiting]) -> None:
        try:
            await self._table.write(partition, [each for one in group for each in one.changes])
        except Exception as error:  # noqa: BLE001 - each caller raises it
            if len(group) > 1 and _is_refusal(error):  # maybe of one caller's changes only
                await asyncio.gather(*(self._write_one(partition, each) for each in group))
            else:
                _settle(group, error)
        else:
            _settle(group, None)
        finally:
            self._ended(partition, place)

    async def _write_one(self, partition: str, one: _Waiting) -> None:
        try:
            await self._table.write(partition, one.changes)
        except Exception as error:  # noqa: BLE001 - its caller raises it
            _settle([one], error)
        else:
            _settle([one], None)


def _is_refusal(error: Exception) -> bool:
    """Whether storage refused a transaction. If it is unavailable, more requests do not help."""
    return isinstance(error, StateError) and not isinstance(error, StorageUnavailableError)


def _first_group(waiting: Sequence[_Waiting]) -> list[_Waiting]:
    """The first callers whose changes fit into one transaction; always at least one.

    A transaction that has a row twice is refused.
    """
    group: list[_Waiting] = []
    rows: set[str] = set()
    for one in waiting[:MAX_CALLERS]:
        more = {change.row_key for change in one.changes}
        if group and (len(rows) + len(more) > MAX_ROWS or rows & more):
            break
        group.append(one)
        rows |= more
    return group


def _settle(group: Sequence[_Waiting], error: Exception | None) -> None:
    """Report the outcome of a transaction to its callers that still wait."""
    for one in group:
        if one.written.done():
            continue
        if error is None:
            one.written.set_result(None)
        else:
            one.written.set_exception(error)
