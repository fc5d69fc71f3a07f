"""Erases owners: all their rows, in every table, and the stored data of these rows in Foundry.

Everything that started before the request is erased; later data stays, so an owner may go on
working. A turn or job that runs at that time cannot be erased before it has ended: sweeps erase it,
including a last one after everything that may have been running has ended. The receipt is written
to the audit trail, whose records are kept, because they have ids and no content.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ulid import ULID

from ..audit.trail import Action, AuditOutcome, AuditRecord, AuditTrail, Caller
from ..foundry.errors import FoundryError
from ..foundry.service import FoundryService
from ..metering.meter import Meter
from ..metering.rows import remove_owner
from ..state.erasures import ERASURES_PARTITION, Erasure, close_erasure, open_erasures
from ..state.errors import LaneBusyError, RowMissingError, StateError
from ..state.idempotency import ANSWERED
from ..state.keys import (
    ANSWER,
    ASKED,
    EXCHANGE,
    IDEMPOTENCY,
    REJECTED,
    RESPONSE,
    Kind,
    identifier,
    made_at,
    partition_key,
)
from ..state.lanes import Clock, Lanes
from ..state.markers import forget_markers
from ..state.rejected import REJECTED_PARTITION
from ..state.row_deletion import delete_range, delete_rows, page_of, remove_lone_jobs
from ..state.table import Row, Table, equals
from ..state.turns import RESPONSES, stored_responses
from .removal import Removal

log = logging.getLogger(__name__)

INLINE_SECONDS = 15.0
"""How long a caller waits for the result."""

SETTLED = timedelta(minutes=35)
"""After this, all turns that ran at the request have ended, and their metrics are written."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The tables with rows of owners, and the meter that writes metrics."""

    state: Table
    metrics: Table
    meter: Meter


class Erasures:
    """Erases owners."""

    def __init__(
        self,
        stores: Stores,
        removal: Removal,
        lanes: Lanes,
        *,
        foundry: FoundryService,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._table = stores.state
        self._metrics, self._meter = stores.metrics, stores.meter
        self._removal = removal
        self._lanes = lanes
        self._foundry = foundry
        self._audit = audit
        self._clock = clock
        self._running: dict[str, asyncio.Task[Erasure]] = {}

    async def erase(self, owner: str, caller: Caller) -> Erasure:
        """Erase an owner; after `INLINE_SECONDS` the rest runs in the background."""
        begun = Erasure(f"erasure_{ULID()}", owner, self._clock(), caller.to_json())
        etag = await begun.begin(self._table)
        task = self._start(begun, etag)
        await asyncio.wait([task], timeout=INLINE_SECONDS)
        return task.result() if task.done() else begun

    def _start(self, erasure: Erasure, etag: str) -> asyncio.Task[Erasure]:
        task = asyncio.create_task(self._run(erasure, etag))
        self._running[erasure.erasure_id] = task
        task.add_done_callback(lambda _: self._running.pop(erasure.erasure_id))
        return task

    async def sweep(self) -> None:
        """Continue the open erasures that no task of this process runs."""
        for erasure, row in await open_erasures(self._table):
            if erasure.erased_at is not None:
                await self._look_again(erasure, row)
            elif await self._is_current(row) and erasure.erasure_id not in self._running:
                await self._start(erasure, row.etag)

    async def _is_current(self, row: Row) -> bool:
        """Whether no other sweep or instance has gone on with an erasure since it was read."""
        now = await self._table.get(ERASURES_PARTITION, row.row_key)
        return now is not None and now.etag == row.etag

    async def _run(self, erasure: Erasure, etag: str) -> Erasure:
        """Run one pass over the owner's data, and write the receipt if nothing is left."""
        try:
            erasure, staying = await self._pass(erasure)
            if not staying:
                erasure = replace(erasure, erased_at=self._clock())
                await self._audit.append(_receipt(erasure))  # at least once
            await erasure.update(self._table, etag)
        except (FoundryError, StateError) as error:
            _log_delay(erasure, error)
        return erasure

    async def _look_again(self, erasure: Erasure, row: Row) -> None:
        """After `SETTLED`, erase what was running at the first pass, and close the erasure."""
        if self._clock() < erasure.asked_at + SETTLED:
            return
        try:
            _, staying = await self._pass(erasure)
            if not staying:
                await close_erasure(self._table, row)
        except (FoundryError, StateError) as error:
            _log_delay(erasure, error)

    async def _pass(self, erasure: Erasure) -> tuple[Erasure, int]:
        """Delete what can be deleted now; also returns how many threads and jobs were in use."""
        owner, before = erasure.owner, erasure.asked_at
        counts: Counter[str] = Counter()
        counts["threads"], busy = await self._remove_threads(owner, before)

        def may_go(job: Row) -> bool:
            is_old = job.values["created_at"] <= before
            return is_old and job.values.get("thread_id") not in busy and not self._is_busy(job)

        counts["jobs"], running = await remove_lone_jobs(self._table, owner, before, may_go)
        counts["turns"] = await self._remove_turns(owner, before, busy)
        counts["others"] = await self._remove_others(owner, before, busy)
        await self._meter.flush()
        counts["metrics"] = await remove_owner(self._metrics, owner, before)
        staying = len(busy) + running
        if not staying:
            await forget_markers(self._table, owner, before)
        return erasure.with_counts(counts), staying

    async def _remove_threads(self, owner: str, before: datetime) -> tuple[int, frozenset[str]]:
        """Delete the threads created up to ``before``; returns how many, and which are in use."""
        partition, removed, after = partition_key(owner), 0, ""
        busy: set[str] = set()
        while rows := await page_of(self._table, partition, f"{Kind.THREAD}:", after=after):
            for row in (each for each in rows if each.values["created_at"] <= before):
                thread_id = identifier(row.row_key)
                try:
                    await self._removal.remove_now(owner, thread_id)
                    removed += 1
                except LaneBusyError:
                    busy.add(thread_id)
                except RowMissingError:
                    log.debug("Thread %s was deleted already", thread_id)
            after = rows[-1].row_key
        return removed, frozenset(busy)

    def _is_busy(self, row: Row) -> bool:
        return bool(self._lanes.busy_seconds(row))

    async def _remove_turns(self, owner: str, before: datetime, busy: frozenset[str]) -> int:
        """Delete the turns without a thread, and those of deleted threads."""
        partition, removed, after = partition_key(owner), 0, ""
        select = ("created_at", RESPONSES)
        prefix = f"{Kind.TURN}:"
        while rows := await page_of(self._table, partition, prefix, after=after, select=select):
            after = rows[-1].row_key
            old = [
                row
                for row in rows
                if row.values["created_at"] <= before and row.row_key.split(":")[1] not in busy
            ]
            await self._foundry.delete_responses(
                response_id for row in old for response_id in stored_responses(row)
            )
            removed += await delete_rows(self._table, partition, [row.row_key for row in old])
        return removed

    async def _remove_others(self, owner: str, before: datetime, busy: frozenset[str]) -> int:
        """Delete idempotency keys, rows of ended jobs, exchanges and rejected messages."""
        partition = partition_key(owner)

        def is_new(row: Row) -> bool:
            return row.values["created_at"] > before

        def is_running(row: Row) -> bool:
            is_held = not row.values.get(ANSWERED) and row.values["until"] > self._clock()
            return is_new(row) or is_held

        def is_kept(row: Row) -> bool:
            thread_id = row.row_key.split(":")[1]
            return made_at(thread_id) > before or thread_id in busy

        removed = 0
        for prefix, keep in (
            (IDEMPOTENCY, is_running),
            (ANSWER, is_new),
            (ASKED, is_new),
            (RESPONSE, is_new),
            (EXCHANGE, is_kept),
        ):
            removed += await delete_range(self._table, partition, f"{prefix}:", keep=keep)
        rejected = equals("owner", owner)
        return removed + await delete_range(
            self._table, REJECTED_PARTITION, f"{REJECTED}:", where=rejected
        )

    async def aclose(self) -> None:
        """Cancel running erasures; a sweep continues them."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _log_delay(erasure: Erasure, error: Exception) -> None:
    log.warning("Erasure %s is continued later: %s", erasure.erasure_id, type(error).__name__)


def _receipt(erasure: Erasure) -> AuditRecord:
    assert erasure.erased_at is not None  # noqa: S101 - set before the receipt is written
    caller = Caller.from_json(erasure.caller)
    return AuditRecord(
        action=Action.DATA_ERASED,
        outcome=AuditOutcome.SUCCEEDED,
        at=erasure.erased_at,
        owner=erasure.owner,
        subject=caller.subject,
        actor=caller.actor,
        how=caller.how,
        request_id=caller.request_id,
        erasure_id=erasure.erasure_id,
        deleted=sum(erasure.counts.values()),
    )
