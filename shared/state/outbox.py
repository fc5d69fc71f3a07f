"""The outbox: results of jobs that are to be delivered, and the state of each delivery.

The transaction that ends a job also writes its outbox row, so no result is lost. If a process dies
before the delivery, the sweep finds the row by the job's marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from .jobs import job_change
from .keys import outbox_key, partition_key
from .lanes import Clock
from .table import Change, Operation, Row, Table, Value

ATTEMPT_SECONDS = 90.0
"""How long an attempt counts as running without a result."""

EARLY_SECONDS = 2.0
"""A notice may arrive this much too early, because queues count whole seconds."""


class DeliveryStatus(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of a job's result, by callback, by reply queue or both."""

    owner: str
    job_id: str
    row: Row

    @property
    def callback_url(self) -> str | None:
        """The callback address, if any."""
        return self._values.get("callback_url")

    @property
    def reply_queue(self) -> str | None:
        """The name of the reply queue, if any."""
        return self._values.get("reply_queue")

    @property
    def replied(self) -> bool:
        """Whether the message is on the reply queue."""
        return bool(self._values.get("replied"))

    @property
    def attempts(self) -> int:
        """The number of attempts so far."""
        return int(self._values["attempts"])

    @property
    def next_at(self) -> datetime:
        """When the next attempt is due."""
        return self._values["next_at"]

    @property
    def is_pending(self) -> bool:
        """Whether it is still to be delivered."""
        return self._values["status"] == DeliveryStatus.PENDING

    @property
    def _values(self) -> Mapping[str, Any]:
        return self.row.values


def outbox_insert(job_id: str, callbacks: Mapping[str, str], now: datetime) -> Change:
    """The change that starts the delivery of a result, for the transaction that ends the job."""
    values: dict[str, Value | None] = {
        **callbacks,
        "attempts": 0,
        "status": DeliveryStatus.PENDING.value,
        "next_at": now,
        "created_at": now,
    }
    return Change(Operation.INSERT, outbox_key(job_id), values)


class Outbox:
    """The deliveries of all owners."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def get(self, owner: str, job_id: str) -> Delivery | None:
        """The delivery of a job's result; None if the job has not ended or has no callbacks."""
        row = await self._table.get(partition_key(owner), outbox_key(job_id))
        return Delivery(owner, job_id, row) if row else None

    def is_due(self, delivery: Delivery) -> bool:
        """Whether an attempt is due now."""
        early = timedelta(seconds=EARLY_SECONDS)
        return delivery.is_pending and delivery.next_at - early <= self._clock()

    async def begin(self, delivery: Delivery) -> Delivery:
        """Count an attempt before it starts; no other may start for `ATTEMPT_SECONDS`.

        Raises:
            RowChangedError: if another attempt has started.
        """
        values: dict[str, Value] = {
            "attempts": delivery.attempts + 1,
            "next_at": self._clock() + timedelta(seconds=ATTEMPT_SECONDS),
        }
        row = delivery.row
        change = Change(Operation.MERGE, row.row_key, values, row.etag)
        etag = await self._table.write(partition_key(delivery.owner), [change])
        begun = Row(row.row_key, etag, {**row.values, **values})
        return Delivery(delivery.owner, delivery.job_id, begun)

    async def postpone(
        self, delivery: Delivery, seconds: float, error: str, *, replied: bool
    ) -> None:
        """Schedule the next attempt."""
        values: dict[str, Value] = {
            "next_at": self._clock() + timedelta(seconds=seconds),
            "last_error": error,
            "replied": replied,
        }
        change = Change(Operation.MERGE, delivery.row.row_key, values, delivery.row.etag)
        await self._table.write(partition_key(delivery.owner), [change])

    async def finish(
        self,
        delivery: Delivery,
        status: DeliveryStatus,
        error: str | None = None,
        *,
        also: Sequence[Change] = (),
    ) -> None:
        """End a delivery and write its status to the job, in one transaction with ``also``.

        Raises:
            RowMissingError: if the job is gone.
        """
        values: dict[str, Value | None] = {
            "status": status.value,
            "finished_at": self._clock(),
            "last_error": error,
        }
        changes = [
            Change(Operation.MERGE, delivery.row.row_key, values, delivery.row.etag),
            job_change(delivery.job_id, delivery=status.value),
            *also,
        ]
        await self._table.write(partition_key(delivery.owner), changes)

    async def drop(self, delivery: Delivery) -> None:
        """Delete the delivery of a job that no longer exists."""
        change = Change(Operation.DELETE, delivery.row.row_key, etag=delivery.row.etag)
        await self._table.write(partition_key(delivery.owner), [change])
