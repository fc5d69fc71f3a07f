"""Deletes records whose retention period is over.

Each run reads a bounded number of rows in the order of the table, and the next run continues where
it stopped. A page of 1,000 rows is one request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..config import RetentionSettings
from ..state.errors import RowChangedError, RowMissingError
from ..state.idempotency import ANSWERED, RESENT
from ..state.jobs import JobStatus
from ..state.keys import (
    ANSWER,
    ASKED,
    AUDIT,
    BOX,
    CLIENT_KEY,
    CONVERSATION,
    ERASURE,
    EXCHANGE,
    IDEMPOTENCY,
    OUTBOX,
    REJECTED,
    RESPONSE,
    SEAL,
    Kind,
)
from ..state.lanes import Clock
from ..state.outbox import DeliveryStatus
from ..state.rejected import REJECTED_PARTITION
from ..state.table import Change, Operation, Row, Table

log = logging.getLogger(__name__)

IDEMPOTENCY_HOURS = 24

RESENT_MINUTES = 15
"""Of the row of a request without a key, whose answer is replayed for ten minutes."""

MAX_HELD_DAYS = 30
"""Of an answer that was not delivered, if jobs are kept forever."""

PAGE_ROWS = 1_000
MAX_PAGES = 1_000
"""In one run, which is a million rows."""

TRANSACTION_ROWS = 100

CURSOR_PARTITION = "$retention"
CURSOR_KEY = "cursor"

START = (REJECTED_PARTITION, "")
"""Earlier partitions hold markers, which the sweeps delete."""

READ = (
    "answered",
    "at",
    "created_at",
    "delivery",
    "expires_at",
    "finished_at",
    "rejected_at",
    RESENT,
    "revoked_at",
    "status",
    "until",
)
"""The properties that the rules read."""


class Retention:
    """Deletes old rows by the rules."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        settings: RetentionSettings,
        *,
        page_rows: int = PAGE_ROWS,
        max_pages: int = MAX_PAGES,
    ) -> None:
        self._table = table
        self._clock = clock
        self._settings = settings
        self._page_rows = page_rows
        self._max_pages = max_pages

    async def run(self) -> int:
        """Continue where the last run stopped; returns how many rows were deleted."""
        position, deleted = await self._position(), 0
        for _ in range(self._max_pages):
            page = await self._table.walk(position, limit=self._page_rows, select=READ)
            deleted += await self._delete(page)
            if len(page) < self._page_rows:
                position = START
                break
            partition, row = page[-1]
            position = (partition, row.row_key)
        await self._remember(position)
        if deleted:
            log.info("Deleted %d record(s) whose retention period is over", deleted)
        return deleted

    async def _position(self) -> tuple[str, str]:
        row = await self._table.get(CURSOR_PARTITION, CURSOR_KEY)
        return (row.values["partition"], row.values["row_key"]) if row else START

    async def _remember(self, position: tuple[str, str]) -> None:
        partition, row_key = position
        values = {"partition": partition, "row_key": row_key}
        change = Change(Operation.UPSERT, CURSOR_KEY, values)
        await self._table.write(CURSOR_PARTITION, [change])

    async def _delete(self, page: Sequence[tuple[str, Row]]) -> int:
        old: dict[str, list[Row]] = {}
        now = self._clock()
        for partition, row in page:
            if self._is_old(row, now):
                old.setdefault(partition, []).append(row)
        deleted = 0
        for partition, rows in old.items():
            while rows:
                deleted += await self._delete_rows(partition, rows[:TRANSACTION_ROWS])
                del rows[:TRANSACTION_ROWS]
        return deleted

    async def _delete_rows(self, partition: str, rows: Sequence[Row]) -> int:
        changes = [Change(Operation.DELETE, row.row_key, etag=row.etag) for row in rows]
        try:
            await self._table.write(partition, changes)
        except (RowChangedError, RowMissingError):  # one of them is in use; the next run deletes it
            return 0
        return len(rows)

    def _is_old(self, row: Row, now: datetime) -> bool:
        kind, _, _ = row.row_key.partition(":")
        rule = RULES.get(kind, _stays)
        return rule(row.values, self._settings, now)


Values = Mapping[str, Any]
Rule = Callable[[Values, RetentionSettings, datetime], bool]
"""Whether the retention period of a row is over."""


def _stays(_: Values, __: RetentionSettings, ___: datetime) -> bool:
    """The rule of rows that are deleted together with what they belong to."""
    return False


def _old_turn(values: Values, days: RetentionSettings, now: datetime) -> bool:
    return _is_past(values.get("created_at"), days.turn_days, now)


def _old_job(values: Values, days: RetentionSettings, now: datetime) -> bool:
    delivered = values.get("delivery") != DeliveryStatus.PENDING
    ended = JobStatus(values["status"]).is_terminal
    return delivered and ended and _is_past(values.get("finished_at"), days.job_days, now)


def _old_delivery(values: Values, days: RetentionSettings, now: datetime) -> bool:
    delivered = values["status"] != DeliveryStatus.PENDING
    return delivered and _is_past(values.get("created_at"), days.delivery_days, now)


def _old_answer(values: Values, days: RetentionSettings, now: datetime) -> bool:
    """An answer is deleted with its delivery; this rule deletes those without one."""
    return _is_past(values.get("created_at"), days.job_days or MAX_HELD_DAYS, now)


def _old_asked(values: Values, days: RetentionSettings, now: datetime) -> bool:
    return _is_past(values.get("created_at"), days.job_days, now)


def _old_rejection(values: Values, days: RetentionSettings, now: datetime) -> bool:
    return _is_past(values.get("rejected_at"), days.job_days, now)


def _old_client_key(values: Values, days: RetentionSettings, now: datetime) -> bool:
    """As long as the audit trail names a key, its row says which one that was."""
    ended = filter(None, (values.get("revoked_at"), values.get("expires_at")))
    return _is_past(min(ended, default=None), days.audit_days, now)


def _old_audit_record(values: Values, days: RetentionSettings, now: datetime) -> bool:
    """Whole days, like the audit table."""
    day = now.date() - timedelta(days=days.audit_days)
    return bool(days.audit_days) and values["at"].date() < day


def _old_key(values: Values, _: RetentionSettings, now: datetime) -> bool:
    return _is_spent(values, now)


RULES: Mapping[str, Rule] = {
    Kind.TURN: _old_turn,
    RESPONSE: _old_turn,
    Kind.JOB: _old_job,
    OUTBOX: _old_delivery,
    ANSWER: _old_answer,
    ASKED: _old_asked,
    IDEMPOTENCY: _old_key,
    REJECTED: _old_rejection,
    CLIENT_KEY: _old_client_key,
    Kind.THREAD: _stays,
    CONVERSATION: _stays,
    EXCHANGE: _stays,
    BOX: _stays,
    ERASURE: _stays,
    SEAL: _stays,
    AUDIT: _old_audit_record,
}
"""By kind of row. Threads stay until they are deleted or expire, with their conversation ids and
exchanges; the work of a job is deleted when it ends, and an erasure when it is closed. The seal of
the client keys is never deleted."""


def _is_past(moment: datetime | None, days: int, now: datetime) -> bool:
    return bool(days) and moment is not None and moment + timedelta(days=days) <= now


def _is_spent(values: Mapping[str, Any], now: datetime) -> bool:
    """Whether an idempotency key is old enough, and its request is not running."""
    running = not values.get(ANSWERED) and values["until"] > now
    kept = timedelta(minutes=RESENT_MINUTES)
    if not values.get(RESENT):
        kept = timedelta(hours=IDEMPOTENCY_HOURS)
    return not running and values["created_at"] + kept <= now
