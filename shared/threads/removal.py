"""Deletes threads with their turns and jobs: on request, and when they have expired.

A thread is marked and hidden first, and its row is deleted last. What callers can see of it, its
jobs and stored answers, is deleted before the request is answered; its turns, here and in Foundry,
are deleted a hundred at a time. If the worker dies, the marker is left, and a sweep continues.
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
from ..state.responses import remove_responses_of
from ..state.row_deletion import delete_rows, page_of, remove_jobs_of
from ..state.table import Change, Operation, Table
from ..state.threads import Thread, Threads
from ..state.turns import RESPONSES, stored_responses

log = logging.getLogger(__name__)

MAX_THREADS = 200
"""Of one partition of markers in one run; there are 16 partitions."""

DELETIONS_AT_ONCE = 8

INLINE_SECONDS = 15.0
"""How long a caller waits for the deletion of a thread with many turns."""

BUSY_SECONDS = 300.0
"""The pause before a thread that is in use, or that jobs wait for, is tried again."""

REFUSED_SECONDS = 3_600.0
"""The pause after Foundry failed to delete a thread."""


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
        """After ``hold_seconds``, a sweep takes over a deletion whose worker died."""
        self._table = table
        self._threads = threads
        self._foundry = foundry
        self._clock = clock
        self._exchanges = Exchanges(table)
        self._hold = timedelta(seconds=hold_seconds)
        self._running: set[asyncio.Task[None]] = set()
        self._removing: set[str] = set()

    async def remove(self, owner: str, thread_id: str) -> bool:
        """Delete a thread with its turns and jobs, even if Foundry has deleted it already.

        Returns whether all of it is deleted. If not, callers can no longer see the thread, and the
        rest is deleted in the background.

        Raises:
            LaneBusyError: if a turn runs on it.
            RowMissingError: if the owner has no such thread.
            FoundryError: if Foundry does not delete it; it stays hidden and a sweep tries again.
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
            log.warning("The deletion of a thread failed and is retried: %s", type(error).__name__)

    async def remove_now(self, owner: str, thread_id: str) -> None:
        """Delete a thread like `remove`, but wait until all of it is deleted."""
        await self._remove(await self._begin(owner, thread_id))

    async def _begin(self, owner: str, thread_id: str) -> Thread:
        """Hide a thread, and delete what callers can still see of it."""
        resumed_at = self._clock() + self._hold
        thread = await self._threads.start_removal(owner, thread_id, removed_from=resumed_at)
        await self._remove_visible(thread)
        return thread

    async def _remove_visible(self, thread: Thread) -> None:
        owner, thread_id = thread.owner, thread.thread_id
        await remove_jobs_of(self._table, owner, thread_id)
        await forget_answers(self._table, owner, thread_id)
        await remove_responses_of(self._table, owner, thread_id)
        if thread.named_by is not None:
            await self._remove_name(thread, thread.named_by)

    async def _remove_name(self, thread: Thread, row_key: str) -> None:
        """Delete the row of a thread's conversation id, unless it maps to a newer thread now."""
        partition = partition_key(thread.owner)
        row = await self._table.get(partition, row_key)
        if row is None or row.values["thread_id"] != thread.thread_id:
            return
        try:
            await self._table.write(partition, [Change(Operation.DELETE, row_key, etag=row.etag)])
        except (RowChangedError, RowMissingError):
            log.debug("The conversation id of thread %s has a newer thread", thread.thread_id)

    async def _remove(self, thread: Thread) -> None:
        """Delete a hidden thread, first in Foundry; its row is deleted last."""
        ref = ThreadRef(thread.conversation_id, thread.last_response_id)
        self._removing.add(thread.thread_id)
        try:
            await self._remove_turns(thread)
            await self._foundry.delete_thread(ref)
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
                await self._foundry.delete_thread(ThreadRef(None, oldest))  # and all earlier ones
            is_first = False
            await self._foundry.delete_responses(
                response_id for row in rows for response_id in stored_responses(row)
            )
            await delete_rows(self._table, partition, [row.row_key for row in rows])

    async def expire(self) -> int:
        """Delete expired threads, and continue interrupted deletions; returns how many threads."""
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
        """Cancel running deletions; a sweep continues them."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
