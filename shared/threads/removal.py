"""Deletes threads and all that came of them: on demand, and when their time is over.

A thread is marked and hidden before anything is deleted, and its row goes last. What callers can
see of it, its jobs and the answers to its idempotency keys, goes before the request is answered;
its turns, here and in Foundry, go a hundred at a time. A worker that dies on the way leaves the
mark, and the next sweep goes on with what is left.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from ..foundry.errors import FoundryError
from ..foundry.models import ThreadRef
from ..foundry.service import FoundryService
from ..state.errors import LaneBusyError, RowChangedError, RowMissingError
from ..state.exchanges import Exchanges
from ..state.idempotency import forget_answers
from ..state.keys import partition_key, turn_prefix
from ..state.lanes import Clock
from ..state.markers import (
    Marker,
    Register,
    forget_marker,
    mark_expiry,
    sweep_markers,
    unmark_lane,
)
from ..state.row_deletion import delete_rows, page_of, remove_jobs_of
from ..state.table import Change, Operation, Table
from ..state.threads import Thread, Threads
from ..state.turns import RESPONSES, stored_responses

log = logging.getLogger(__name__)

MAX_THREADS = 200
"""Of one partition of markers in one run; 16 times as many in all."""

DELETIONS_AT_ONCE = 8

INLINE_SECONDS = 15.0
"""How long a caller waits for the deletion of a thread with many turns."""

BUSY_SECONDS = 300.0
"""A thread that is in use, or that jobs wait for, is looked at again after this."""

REFUSED_SECONDS = 3_600.0
"""One that Foundry would not delete, after this."""


class Removal:
    """Deletes threads."""

    def __init__(
        self,
        table: Table,
        threads: Threads,
        foundry: FoundryService,
        clock: Clock,
        hold_seconds: float,
    ) -> None:
        """Take the parts, and after how long a deletion whose worker died is taken over."""
        self._table = table
        self._threads = threads
        self._foundry = foundry
        self._clock = clock
        self._exchanges = Exchanges(table)
        self._hold = timedelta(seconds=hold_seconds)
        self._running: set[asyncio.Task[None]] = set()
        self._removing: set[str] = set()

    async def remove(self, owner: str, thread_id: str) -> bool:
        """Delete a thread with all that came of it; one already gone in Foundry still goes here.

        Returns whether all of it is gone. If not, nothing of it can be seen any more, and the rest
        goes in the background.

        Raises:
            LaneBusyError: if a turn runs on it.
            RowMissingError: if the owner has no such thread.
            FoundryError: if Foundry does not delete it; it stays hidden, and is tried again.
        """
        task = asyncio.create_task(self._remove(await self._begin(owner, thread_id)))
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait([task], timeout=INLINE_SECONDS)
        for each in done:
            each.result()
        return bool(done)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("A thread is deleted later: %s", type(error).__name__)

    async def remove_now(self, owner: str, thread_id: str) -> None:
        """As `remove`, however long it takes."""
        await self._remove(await self._begin(owner, thread_id))

    async def _begin(self, owner: str, thread_id: str) -> Thread:
        """Hide a thread, and delete what callers could still see of it."""
        resumed_at = self._clock() + self._hold
        thread = await self._threads.start_removal(owner, thread_id, removed_from=resumed_at)
        await self._remove_visible(thread)
        return thread

    async def _remove_visible(self, thread: Thread) -> None:
        owner, thread_id = thread.owner, thread.thread_id
        await remove_jobs_of(self._table, owner, thread_id)
        await forget_answers(self._table, owner, thread_id)
        if thread.named_by is not None:
            await self._remove_name(thread, thread.named_by)

    async def _remove_name(self, thread: Thread, row_key: str) -> None:
        """Delete the row that leads to a thread, unless it leads to a newer one by now."""
        partition = partition_key(thread.owner)
        row = await self._table.get(partition, row_key)
        if row is None or row.values["thread_id"] != thread.thread_id:
            return
        try:
            await self._table.write(partition, [Change(Operation.DELETE, row_key, etag=row.etag)])
        except (RowChangedError, RowMissingError):
            log.debug("The name of thread %s leads elsewhere by now", thread.thread_id)

    async def _remove(self, thread: Thread) -> None:
        """Delete a hidden thread, in Foundry first; its row goes last."""
        backing = ThreadRef(thread.conversation_id, thread.last_response_id)
        self._removing.add(thread.thread_id)
        try:
            await self._remove_turns(thread)
            await self._foundry.delete_thread(backing)
            await self._exchanges.remove(thread.owner, thread.thread_id)
            await unmark_lane(self._table, thread.owner, thread.thread_id)
            await self._threads.finish_removal(thread)
        finally:
            self._removing.discard(thread.thread_id)

    async def _remove_turns(self, thread: Thread) -> None:
        """Delete the turns of a thread, oldest first, each with its responses in Foundry."""
        partition, prefix = partition_key(thread.owner), turn_prefix(thread.thread_id)
        is_first = True
        while rows := await page_of(self._table, partition, prefix, select=(RESPONSES,)):
            if is_first and thread.conversation_id is None:
                oldest = next((each for row in rows for each in stored_responses(row)), None)
                await self._foundry.delete_thread(ThreadRef(None, oldest))  # and all before it
            is_first = False
            await self._foundry.delete_responses(
                response_id for row in rows for response_id in stored_responses(row)
            )
            await delete_rows(self._table, partition, [row.row_key for row in rows])

    async def expire(self) -> int:
        """Delete threads whose time is over, and go on with deletions that were interrupted;
        returns how many."""
        removed = await sweep_markers(
            self._table,
            Register.EXPIRIES,
            self._expire,
            at_once=DELETIONS_AT_ONCE,
            due=self._clock(),
            limit=MAX_THREADS,
        )
        if removed:
            log.info("Deleted %d thread(s)", removed)
        return removed

    async def _expire(self, marker: Marker) -> bool:
        owner, thread_id = marker.owner, marker.lane
        if thread_id in self._removing:
            return False
        try:
            if not await self._threads.is_due(owner, thread_id):
                await forget_marker(self._table, marker)
                return False
            thread = await self._threads.start_removal(owner, thread_id)
            await self._remove_visible(thread)
            await self._remove(thread)
        except RowMissingError:
            await forget_marker(self._table, marker)
            return False
        except LaneBusyError:
            await self._postpone(marker, BUSY_SECONDS)
            return False
        except FoundryError as error:
            log.warning("Thread %s cannot be deleted yet: %s", thread_id, error.code)
            await self._postpone(marker, REFUSED_SECONDS)
            return False
        await forget_marker(self._table, marker)
        return True

    async def _postpone(self, marker: Marker, seconds: float) -> None:
        later = self._clock() + timedelta(seconds=seconds)
        await mark_expiry(self._table, marker.owner, marker.lane, later)
        await forget_marker(self._table, marker)

    async def aclose(self) -> None:
        """Leave what still runs to the sweeper."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
