"""How many threads and jobs an owner has now, counted in the owner's rows.

Each thread and each job that has not ended has a row, so neither turns nor ended jobs are read: one
request for each thousand threads and jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..state.keys import AFTER_COLON, BOX, Kind, partition_key
from ..state.lanes import EXPIRES_AT, HIDDEN, Clock
from ..state.mailbox import ENDED
from ..state.table import Row, Table

MAX_ROWS = 20_000
"""The most rows of each kind that are read, which takes about a second; with more rows, the count
is a lower bound."""

_PAGE_ROWS = 1_000

SOON = timedelta(days=1)
"""A thread that expires within this time is counted as expiring."""


@dataclass(frozen=True, slots=True)
class OwnerGauges:
    """The current numbers of an owner's threads and jobs."""

    threads: int
    threads_active_hour: int
    """Threads with a turn within the last hour."""
    threads_active_day: int
    threads_expiring: int
    """Threads that expire within a day."""
    jobs_waiting: int
    jobs_running: int
    complete: bool
    """False if there are more rows than were counted."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """Counts the rows of any owner."""

    table: Table
    clock: Clock

    async def of(self, owner: str) -> OwnerGauges:
        """Count now."""
        partition, now = partition_key(owner), self.clock()
        names = ("last_accessed", EXPIRES_AT, HIDDEN)
        found = await self._rows(partition, Kind.THREAD, names)
        boxes = await self._rows(partition, BOX, ("begun", ENDED))
        # the row of a cancelled job stays until its lane reaches it
        waiting = [row for row in boxes if not row.values.get(ENDED)]
        threads = [row.values for row in found if not _is_gone(row, now)]
        ends = [values[EXPIRES_AT] for values in threads if values.get(EXPIRES_AT)]
        used = [values["last_accessed"] for values in threads]
        running = sum(bool(row.values.get("begun")) for row in waiting)
        return OwnerGauges(
            threads=len(threads),
            threads_active_hour=sum(moment > now - timedelta(hours=1) for moment in used),
            threads_active_day=sum(moment > now - timedelta(days=1) for moment in used),
            threads_expiring=sum(end <= now + SOON for end in ends),
            jobs_waiting=len(waiting) - running,
            jobs_running=running,
            complete=max(len(found), len(boxes)) < MAX_ROWS,
        )

    async def _rows(self, partition: str, kind: str, select: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        after, before = f"{kind}:", f"{kind}{AFTER_COLON}"
        while len(rows) < MAX_ROWS:
            page = await self.table.scan(partition, after, before, limit=_PAGE_ROWS, select=select)
            rows += page
            if len(page) < _PAGE_ROWS:
                break
            after = page[-1].row_key
        return rows


def _is_gone(row: Row, now: datetime) -> bool:
    """Whether a thread is being deleted, or has expired."""
    end: datetime | None = row.values.get(EXPIRES_AT)
    return bool(row.values.get(HIDDEN)) or (end is not None and end <= now)
