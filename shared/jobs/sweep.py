"""Finds lanes whose worker died, and wakes another one."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from ..state.errors import RowChangedError, RowMissingError
from ..state.jobs import MARKED, Jobs
from ..state.keys import newest_first
from ..state.lanes import Clock, Lanes, has_waiting
from ..state.markers import MARKER_PARTITIONS, Marker, marked_lanes, unmark
from ..state.table import Table
from .queue import Queues
from .steps import Step, Wait

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 32

MARK_GRACE = timedelta(minutes=10)
"""A lane is marked before it is written, which takes a moment."""


class Sweeper:
    """Goes through the marked lanes."""

    def __init__(
        self, table: Table, jobs: Jobs, lanes: Lanes, queues: Queues, clock: Clock
    ) -> None:
        self._table = table
        self._jobs = jobs
        self._lanes = lanes
        self._queues = queues
        self._clock = clock
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def sweep(self) -> int:
        """Wake every lane that has work now and no worker; returns how many.

        A wake-up too many is harmless, so a lane that is just about to be taken may be woken too.
        """
        woken = 0
        for number in range(MARKER_PARTITIONS):
            markers = await marked_lanes(self._table, number)
            woken += sum(await asyncio.gather(*(self._look(marker) for marker in markers)))
        if woken:
            log.info("Woke %d lane(s) that had no worker", woken)
        return woken

    async def _look(self, marker: Marker) -> bool:
        async with self._slots:
            try:
                row = await self._lanes.read(marker.owner, newest_first(marker.lane), fresh=True)
                if has_waiting(row):
                    return await self._wake(marker)
                if not self._lanes.busy_seconds(row):
                    await self._lanes.write_seen(marker.owner, row, {MARKED: False}, ())
                    await unmark(self._table, marker)
            except RowMissingError:
                await self._forget(marker)
            except RowChangedError:
                pass  # a worker runs the lane; the next sweep checks again
        return False

    async def _wake(self, marker: Marker) -> bool:
        row = await self._lanes.read(marker.owner, newest_first(marker.lane))
        head = await self._jobs.head(marker.owner, marker.lane, row)
        if head is None or self._lanes.busy_seconds(row):
            return False
        if isinstance(Step(marker.owner, marker.lane, row, head).decide(self._clock()), Wait):
            return False
        await self._queues.wake(marker.owner, marker.lane)
        return True

    async def _forget(self, marker: Marker) -> None:
        """Remove the marker of a lane that is gone; one that is not there yet was just marked."""
        if self._clock() - marker.marked_at < MARK_GRACE:
            return
        try:
            await unmark(self._table, marker)
        except (RowChangedError, RowMissingError):
            log.debug("Lane %s was marked anew or forgotten already", marker.lane)
