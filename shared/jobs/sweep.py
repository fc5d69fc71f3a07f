"""Finds lanes whose worker died, and wakes another worker."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from ..state.errors import RowChangedError, RowMissingError
from ..state.jobs import MARKED, Jobs
from ..state.keys import Kind, is_id, newest_first
from ..state.lanes import Clock, Lanes, has_waiting
from ..state.markers import Marker, Register, forget_marker, postpone, sweep_markers, unmark
from ..state.table import Table
from .queue import Queues
from .steps import Step, Wait

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 32

MARK_GRACE = timedelta(minutes=10)
"""A marker without its lane is kept this long, because a lane is marked before it is written."""

MAX_POSTPONED = timedelta(minutes=5)
"""A lane that was woken, or whose job is not due, is looked at again after this time at the latest.

Its wake-up is on the queue and does not get lost there. So sweeps do not read, and wake again and
again, thousands of lanes that wait for their turn or for a moment to come.
"""


class Sweeper:
    """Checks the marked lanes."""

    def __init__(
        self, table: Table, jobs: Jobs, lanes: Lanes, queues: Queues, clock: Clock
    ) -> None:
        self._table = table
        self._jobs = jobs
        self._lanes = lanes
        self._queues = queues
        self._clock = clock

    async def sweep(self) -> int:
        """Wake a worker for every lane with work and no worker; returns how many lanes.

        A needless wake-up is harmless, so a lane that a worker is about to lease may be woken, too.
        """
        woken = await sweep_markers(self._table, Register.LANES, self._look, at_once=LOOKS_AT_ONCE)
        if woken:
            log.info("Woke %d lane(s) that had no worker", woken)
        return woken

    async def _look(self, marker: Marker) -> bool:
        if marker.is_postponed(self._clock()):
            return False
        try:
            row = await self._lanes.read(marker.owner, newest_first(marker.lane), fresh=True)
            if has_waiting(row):
                return await self._wake(marker)
            if not self._lanes.busy_seconds(row):
                if is_id(Kind.THREAD, marker.lane):  # a job without a thread has no successor
                    await self._lanes.write_seen(marker.owner, row, {MARKED: False}, ())
                await unmark(self._table, marker)
        except RowMissingError:  # the lane is gone, or it was just marked and is not written yet
            if self._clock() - marker.marked_at >= MARK_GRACE:
                await forget_marker(self._table, marker)
        except RowChangedError:
            pass  # a worker runs the lane; the next sweep checks again
        return False

    async def _wake(self, marker: Marker) -> bool:
        row = await self._lanes.read(marker.owner, newest_first(marker.lane))
        head = await self._jobs.head(marker.owner, marker.lane, row)
        if head is None or self._lanes.busy_seconds(row):
            return False
        now = self._clock()
        match Step(marker.owner, marker.lane, row, head).decide(now):
            case Wait(seconds):
                await self._postpone(marker, now, seconds)
                return False
            case _:
                await self._queues.wake(marker.owner, marker.lane)
                await self._postpone(marker, now, (now - marker.marked_at).total_seconds())
                return True

    async def _postpone(self, marker: Marker, now: datetime, seconds: float) -> None:
        """Let sweeps skip a lane for ``seconds``; one that was woken is skipped for its age."""
        pause = min(seconds, MAX_POSTPONED.total_seconds())
        await postpone(self._table, marker, now + timedelta(seconds=pause))
