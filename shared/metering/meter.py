"""Counts turns in memory, and writes the counts to the table once a minute.

Counting a turn needs no storage request. Rows are never changed: each flush has a number, and a row
has the counts of one flush of one instance and minute. A failed flush is retried with the same
rows, so it does not matter if it had succeeded. When a process is killed, at most its last minute
is missing, until the day is rebuilt from turn rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from ulid import ULID

from ..state.days import DayIndex, day_partition
from ..state.errors import StateError
from ..state.table import Table
from ..state.turns import TurnRecord
from .counts import FLEET, Counts, Key, View, counts_of
from .labels import DayLabels
from .rows import Batch, BatchKey, ScopeView, scope_key, start_of_minute, write_all

log = logging.getLogger(__name__)

FLUSH_SECONDS = 60.0
"""The longest time between two flushes, and so the most that a killed instance loses."""

QUIET_SECONDS = 15.0
"""An instance without new turns flushes after this time, because the platform may stop it."""

WRITES_AT_ONCE = 16

MAX_UNWRITTEN_SUMS = 200_000
"""A few hundred MB; while storage is unavailable, older sums beyond this number are dropped."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """The counts of a scope and view that this instance may not have written yet."""

    sums: list[tuple[datetime, Key, Counts]]
    """The counts of each key, by the minute in which the turns began."""
    instance: str
    pending: frozenset[int]
    """Numbers of earlier flushes that are included."""
    next_flush: int
    """Number of the next flush."""

    def holds(self, source: str) -> bool:
        """Whether these sums include the counts of a row with the given source."""
        instance, _, number = source.partition(".")
        if instance != self.instance:
            return False
        return int(number) in self.pending or int(number) >= self.next_flush


class Meter:
    """Counts the turns of one process. Belongs to one event loop."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._days = DayIndex(table)
        self._instance = str(ULID())
        self._labels = DayLabels()
        self._open: Batch = {}
        self._pending: dict[int, Batch] = {}
        """Batches that are being written or failed to be written, by number of the flush."""
        self._flushes = 0
        self._counted = 0
        self._in_flight: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()

    def record(self, turn: TurnRecord) -> None:
        """Count a turn that was committed, in the minute in which it began."""
        self._labels.count(turn, self._open)
        self._flush_soon()

    def refuse(self, limit: str, at: datetime) -> None:
        """Count a request that an owner's limit refused."""
        batch_key = BatchKey(ScopeView(FLEET, View.REFUSALS), start_of_minute(at))
        counts_of(self._open.setdefault(batch_key, {}), (limit,)).requests += 1
        self._flush_soon()

    def _flush_soon(self) -> None:
        self._counted += 1
        if self._task is None:
            self._task = asyncio.create_task(self._flush_regularly())

    @contextmanager
    def running(self, owner: str) -> Generator[None]:
        """Count a turn of an owner as in flight during the block."""
        for scope in (scope_key(owner), FLEET):
            self._in_flight[scope] = self._in_flight.get(scope, 0) + 1
        try:
            yield
        finally:
            for scope in (scope_key(owner), FLEET):
                self._in_flight[scope] -= 1
                if not self._in_flight[scope]:
                    del self._in_flight[scope]

    def in_flight(self, scope: str) -> int:
        """How many turns of a scope run in this process."""
        return self._in_flight.get(scope, 0)

    def unwritten(self, scope_view: ScopeView) -> Unwritten:
        """The counts that are not in the table yet; call this before reading the table."""
        batches = [*self._pending.values(), self._open]
        sums = [
            (batch_key.minute, key, counts)
            for batch in batches
            for batch_key, kept in batch.items()
            if batch_key.scope_view == scope_view
            for key, counts in kept.items()
        ]
        pending = (
            n
            for n, batch in self._pending.items()
            if any(p.scope_view == scope_view for p in batch)
        )
        return Unwritten(sums, self._instance, frozenset(pending), self._flushes)

    async def flush(self) -> bool:
        """Write all counts; returns False if some could not be written and are kept.

        Only one flush runs at a time.
        """
        async with self._flushing:
            if self._open:
                self._pending[self._flushes] = self._open
                self._open = {}
                self._flushes += 1
            slots = asyncio.Semaphore(WRITES_AT_ONCE)
            parts = [
                self._write(number, batch_keys, slots)
                for number, batch in self._pending.items()
                for batch_keys in _by_partition(batch)
            ]
            errors = [error for error in await asyncio.gather(*parts) if error]
            self._pending = {number: batch for number, batch in self._pending.items() if batch}
        if errors:
            log.warning(
                "Counts are kept until storage takes them (%d of %d writes failed): %s",
                len(errors),
                len(parts),
                errors[0],
            )
            self._drop_oldest()
        return not errors

    async def _write(
        self, number: int, batch_keys: list[BatchKey], slots: asyncio.Semaphore
    ) -> StateError | None:
        """Write a batch's counts of one partition, and drop them when they are written."""
        batch, partition = self._pending[number], batch_keys[0].partition
        source = f"{self._instance}.{number}"
        async with slots:
            changes = [
                batch_key.scope_view.minute_change(batch_key.minute, source, key, counts)
                for batch_key in batch_keys
                for key, counts in batch[batch_key].items()
            ]
            try:
                await self._days.remember(*partition)
                await write_all(self._table, day_partition(*partition), changes)
            except StateError as error:
                return error
        for batch_key in batch_keys:
            del batch[batch_key]
        return None

    def _drop_oldest(self) -> None:
        """Bound memory while storage is unavailable."""
        while sum(len(s) for b in self._pending.values() for s in b.values()) > MAX_UNWRITTEN_SUMS:
            oldest = self._pending.pop(min(self._pending))
            days = sorted({batch_key.minute.date().isoformat() for batch_key in oldest})
            log.error("Counts are dropped; rebuild %s when it is over", " and ".join(days))

    async def _flush_regularly(self) -> None:
        """Flush until nothing is left; the next turn starts a new task."""
        while self._open or self._pending:
            await self._wait_until_due()
            try:
                await self.flush()
            except Exception:  # a background task must not end; the counts are kept
                log.exception("Counts could not be written because of an unexpected error")
        self._task = None

    async def _wait_until_due(self) -> None:
        """Wait until the next flush is due, which is earlier if nothing new is counted."""
        ends_at = asyncio.get_running_loop().time() + FLUSH_SECONDS
        while (left := ends_at - asyncio.get_running_loop().time()) > 0:
            counted = self._counted
            await asyncio.sleep(min(QUIET_SECONDS, left))
            if self._counted == counted:
                return

    async def aclose(self) -> None:
        """Write the remaining counts and close all connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()
        await self._table.aclose()


def _by_partition(batch: Batch) -> list[list[BatchKey]]:
    """The keys of a batch, grouped by partition."""
    parts: dict[tuple[str, date], list[BatchKey]] = {}
    for batch_key in batch:
        parts.setdefault(batch_key.partition, []).append(batch_key)
    return list(parts.values())
