"""Deletes threads, in Foundry first and then here: on demand, and when their time is over.

A thread is hidden before anything is deleted and its row goes last, so whoever finds it half
deleted, after a worker died, only has to do it again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from ..foundry.errors import FoundryError
from ..foundry.models import Backing
from ..foundry.service import FoundryService
from ..state.errors import LaneBusyError, RowChangedError, RowMissingError
from ..state.exchanges import Exchanges
from ..state.lanes import Clock
from ..state.markers import MARKER_PARTITIONS, Marker, expired_threads, mark_expiry, unmark
from ..state.table import Table
from ..state.threads import Threads

log = logging.getLogger(__name__)

MAX_THREADS = 200
"""Of one partition of markers in one run; 16 times as many in all."""

DELETIONS_AT_ONCE = 8

BUSY_SECONDS = 300.0
"""A thread that is in use, or that jobs wait for, is looked at again after this."""

REFUSED_SECONDS = 3_600.0
"""One that Foundry would not delete, after this."""


class Removal:
    """Deletes threads."""

    def __init__(
        self, table: Table, threads: Threads, foundry: FoundryService, clock: Clock
    ) -> None:
        self._table = table
        self._threads = threads
        self._foundry = foundry
        self._clock = clock
        self._exchanges = Exchanges(table)
        self._slots = asyncio.Semaphore(DELETIONS_AT_ONCE)

    async def remove(self, owner: str, thread_id: str) -> None:
        """Delete a thread; one already gone in Foundry still goes here.

        Raises:
            LaneBusyError: if a turn runs on it or jobs wait for it.
            RowMissingError: if the owner has no such thread.
            FoundryError: if Foundry does not delete it; it stays hidden.
        """
        thread = await self._threads.start_removal(owner, thread_id)
        await self._foundry.delete_thread(Backing(thread.conversation_id, thread.last_response_id))
        if thread.exchanges:
            await self._exchanges.remove(owner, thread_id)
        await self._threads.finish_removal(thread)

    async def expire(self) -> int:
        """Delete threads whose time is over; returns how many."""
        now, removed = self._clock(), 0
        for number in range(MARKER_PARTITIONS):
            markers = await expired_threads(self._table, number, now, MAX_THREADS)
            removed += sum(await asyncio.gather(*(self._expire(marker) for marker in markers)))
        if removed:
            log.info("Deleted %d thread(s) that had expired", removed)
        return removed

    async def _expire(self, marker: Marker) -> bool:
        async with self._slots:
            try:
                await self.remove(marker.owner, marker.lane)
            except RowMissingError:
                await self._forget(marker)
                return False
            except LaneBusyError:
                await self._postpone(marker, BUSY_SECONDS)
                return False
            except FoundryError as error:
                log.warning("Thread %s cannot be deleted yet: %s", marker.lane, error.code)
                await self._postpone(marker, REFUSED_SECONDS)
                return False
            await self._forget(marker)
            return True

    async def _postpone(self, marker: Marker, seconds: float) -> None:
        later = self._clock() + timedelta(seconds=seconds)
        await mark_expiry(self._table, marker.owner, marker.lane, later)
        await self._forget(marker)

    async def _forget(self, marker: Marker) -> None:
        try:
            await unmark(self._table, marker)
        except (RowChangedError, RowMissingError):
            log.debug("Thread %s was marked anew or forgotten already", marker.lane)
