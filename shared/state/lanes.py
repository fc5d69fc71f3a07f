"""Leases: who may run a turn now.

A lane is a row that turns happen on one after the other: a thread, or a job that has no thread.
Its lease names a holder and ends by itself; each new lease has a higher fencing number, and a
holder whose number was passed cannot commit.

Rows are remembered between turns, because the last writer of a row knows its version: taking a
lease is then one conditional write, and only a row that another instance changed is read again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic

from .contention import Contention
from .errors import (
    LaneBusyError,
    LeaseLostError,
    RowChangedError,
    RowMissingError,
    StorageUnavailableError,
)
from .keys import identifier, partition_key
from .table import Change, Operation, Row, Table, Value

log = logging.getLogger(__name__)

REMEMBERED_ROWS = 10_000
REMEMBERED_CHARS = 16 * 1024 * 1024
"""The rows used longest ago are forgotten first. Most are small, but metadata and a job's answers
may fill one."""

LEASE_SECONDS = 60.0
"""How long a lease lasts; a longer turn renews it (`keeper`)."""

LEASE_MARGIN_SECONDS = 1.5
"""Before its end a lease is not relied on any more: the service states its time to the second, so
the clocks of two instances may be one apart, and a request takes a moment to leave the process."""

UNSETTLED = "unsettled"
"""Property of a thread whose last turn may have left something in Foundry."""

EXPIRES_AT = "thread_expires_at"
"""Property of a thread that ends by itself."""

HIDDEN = "hidden"
"""Property of a lane that is being deleted: from now on it counts as missing."""

REMOVED_FROM = "removed_from"
"""Property of a thread that is being deleted: the moment under which it is marked."""

Clock = Callable[[], datetime]

ChangesFor = Callable[[Row], Sequence[Change]]
"""What to write together with a lane's row, given the row before the write."""

WakeLane = Callable[[str, str], Awaitable[None]]
"""Notify the workers that the lane of an owner has work: ``await wake(owner, lane)``."""


AlsoTake = Callable[[Row], Awaitable[Sequence[Change]]]
"""What to write together with a lease, given the lane's row; asked again if that has changed."""


def _no_changes(_: Row) -> Sequence[Change]:
    return ()


async def _nothing_else(_: Row) -> Sequence[Change]:
    return ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a turn on a lane until a moment."""

    owner: str
    holder: str
    row: Row
    """The lane's row as our lease left it."""
    renewed_at: float
    """When taking or renewing it began, by this machine's monotonic clock."""
    taken_over: bool = False
    """The holder before us never released: their turn may have left something behind."""

    @property
    def fence(self) -> int:
        """Rises with each lease of the lane."""
        return int(self.row.values["lease_fence"])


class Lanes:
    """Takes and releases the leases of lanes."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
        monotonic_clock: Callable[[], float] = monotonic,
    ) -> None:
        self._table = table
        self._clock = clock
        self._monotonic = monotonic_clock
        self.lease_seconds = lease_seconds
        self._remembered: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._chars = 0
        """Of all remembered rows."""

    async def read(self, owner: str, row_key: str, *, fresh: bool = False) -> Row:
        """The lane's row, as last seen unless ``fresh``.

        Raises:
            RowMissingError: if there is no such lane.
        """
        row = None if fresh else self._remembered.get((owner, row_key))
        if row is None:
            row = await self._table.get(partition_key(owner), row_key)
        if row is None or self._is_gone(row):
            self.forget(owner, row_key)
            raise RowMissingError(f"There is no row {row_key}.")
        self.remember(owner, row)
        return row

    def _is_gone(self, row: Row) -> bool:
        """Whether a lane counts as missing: being deleted, or expired with no job waiting."""
        expires_at: datetime | None = row.values.get(EXPIRES_AT)
        expired = expires_at is not None and expires_at <= self._clock() and not has_waiting(row)
        return expired or bool(row.values.get(HIDDEN))

    def remember(self, owner: str, row: Row) -> None:
        """Keep a row that was just read or written."""
        self.forget(owner, row.row_key)
        self._remembered[owner, row.row_key] = row
        self._chars += _chars(row)
        while len(self._remembered) > REMEMBERED_ROWS or self._chars > REMEMBERED_CHARS:
            _, oldest = self._remembered.popitem(last=False)
            self._chars -= _chars(oldest)

    def forget(self, owner: str, row_key: str) -> None:
        """Drop a row that was changed without its new version becoming known."""
        if row := self._remembered.pop((owner, row_key), None):
            self._chars -= _chars(row)

    async def take(
        self, owner: str, row_key: str, holder: str, also: AlsoTake = _nothing_else
    ) -> Lease:
        """Lease a lane for `lease_seconds`, together with what ``also`` says.

        Raises:
            LaneBusyError: if another holder has it.
            RowMissingError: if there is no such lane.
            StorageContentionError: if its row changes too often.
        """
        row = await self.read(owner, row_key)
        if self.busy_seconds(row):
            row = await self.read(owner, row_key, fresh=True)
        contention = Contention("the thread")
        while True:
            self._refuse_held(row)
            try:
                return await self.take_seen(owner, row, holder, await also(row))
            except RowChangedError as error:
                await contention.pause(error)
                row = await self.read(owner, row_key, fresh=True)

    def _refuse_held(self, row: Row) -> None:
        if busy := self.busy_seconds(row):
            raise LaneBusyError(busy)

    async def take_seen(
        self, owner: str, row: Row, holder: str, changes: Sequence[Change] = ()
    ) -> Lease:
        """Lease a lane if its row still is as seen, together with ``changes``.

        Raises:
            LaneBusyError: if another holder has it.
            RowChangedError: if the row is not as seen any more.
        """
        self._refuse_held(row)
        begun = self._monotonic()
        values: dict[str, Value] = {
            "lease_holder": holder,
            "lease_until": self._lease_end(),
            "lease_fence": int(row.values.get("lease_fence", 0)) + 1,
        }
        taken_over = bool(row.values.get("lease_holder"))
        leased = await self._merge(owner, row, values, changes)
        return Lease(owner, holder, leased, begun, taken_over)

    def _lease_end(self) -> datetime:
        return self._clock() + timedelta(seconds=self.lease_seconds)

    async def write(
        self, owner: str, row: Row, values: Mapping[str, Value], changes: Sequence[Change]
    ) -> Row:
        """Write into a lane's row what needs no lease, if it still is as seen.

        Raises:
            RowChangedError: if the row is not as seen any more.
        """
        return await self._merge(owner, row, values, changes)

    async def write_seen(
        self, owner: str, row: Row, values: Mapping[str, Value], changes: Sequence[Change]
    ) -> Row:
        """Write a lane that is free, if its row is unchanged, without leasing it.

        Raises:
            LaneBusyError: if it is leased.
            RowChangedError: if the row is not as seen any more.
        """
        self._refuse_held(row)
        ended: dict[str, Value] = {**values, "lease_holder": ""}
        if row.values.get("lease_holder"):  # its holder died, and the turn was not reconciled yet
            ended[UNSETTLED] = True
        return await self._merge(owner, row, ended, changes)

    def busy_seconds(self, row: Row) -> float:
        """How long the lane's lease still lasts; 0 where there is none."""
        if not row.values.get("lease_holder"):
            return 0.0
        until: datetime = row.values["lease_until"]
        return max((until - self._clock()).total_seconds(), 0.0)

    async def renew(self, lease: Lease, values: Mapping[str, Value] | None = None) -> Lease:
        """Lease the lane for another `lease_seconds`, and write ``values`` into its row.

        Raises:
            LeaseLostError: if another holder took over; nothing is written.
        """
        begun = self._monotonic()
        renewed = {**(values or {}), "lease_until": self._lease_end()}
        row = await self._write_as_holder(lease, renewed, _no_changes)
        return replace(lease, row=row, renewed_at=begun)

    def is_surely_held(self, lease: Lease) -> bool:
        """Whether no other instance can have taken the lane over yet, as both clocks say.

        The shared one may have been corrected since; the other one stops in a machine that
        is paused.
        """
        passed = self._monotonic() - lease.renewed_at
        left = min(self.lease_seconds - passed, self.busy_seconds(lease.row))
        return left > LEASE_MARGIN_SECONDS

    async def release(
        self, lease: Lease, values: Mapping[str, Value], changes: ChangesFor = _no_changes
    ) -> Row:
        """Write ``values`` into the lane's row and end the lease, together with ``changes``.

        Raises:
            LeaseLostError: if another holder took over; nothing is written.
        """
        return await self._write_as_holder(lease, {**values, "lease_holder": ""}, changes)

    async def _write_as_holder(
        self, lease: Lease, values: Mapping[str, Value], changes: ChangesFor
    ) -> Row:
        """Write while the lease is ours.

        The row may have been changed in between by a writer that needs no lease (a new job, new
        metadata); as long as the lease is still ours, that does not matter.
        """
        row, contention = lease.row, Contention("the thread")
        while True:
            try:
                return await self._merge(lease.owner, row, values, changes(row))
            except RowChangedError as error:
                await contention.pause(error)
                row = await self._still_ours(lease)

    async def _still_ours(self, lease: Lease) -> Row:
        """The lane's current row; a thread that expired meanwhile is still ours."""
        row = await self._table.get(partition_key(lease.owner), lease.row.row_key)
        ours = (lease.holder, lease.fence)
        if row is None or (row.values.get("lease_holder"), row.values.get("lease_fence")) != ours:
            raise LeaseLostError("The turn took longer than its lease and was taken over.")
        return row

    async def _merge(
        self, owner: str, row: Row, values: Mapping[str, Value | None], changes: Sequence[Change]
    ) -> Row:
        """Write the lane's row and all ``changes`` in one transaction."""
        others = [change for change in changes if change.row_key != row.row_key]
        for change in changes:
            if change.row_key == row.row_key:  # a transaction takes each row only once
                values = {**values, **change.values}
        guarded = Change(Operation.MERGE, row.row_key, values, row.etag)
        try:
            etag = await self._table.write(partition_key(owner), [guarded, *others])
        except BaseException:
            self.forget(owner, row.row_key)
            raise
        written = {name: value for name, value in values.items() if value is not None}
        merged = replace(row, etag=etag, values={**row.values, **written})
        self.remember(owner, merged)
        return merged


def _chars(row: Row) -> int:
    """How much text a row holds."""
    return sum(len(value) for value in row.values.values() if isinstance(value, str | bytes))


def head_sequence(lane_row: Row) -> int:
    """The place in its lane of the job to run next."""
    return int(lane_row.values.get("job_head", 1))


def has_waiting(lane_row: Row) -> bool:
    """Whether jobs wait in a lane."""
    return head_sequence(lane_row) <= int(lane_row.values.get("job_tail", 0))


async def wake_waiting(wake_lane: WakeLane, owner: str, lane_row: Row) -> None:
    """Let workers know of jobs that waited for a lane; the sweeper knows of them, too."""
    if not has_waiting(lane_row):
        return
    try:
        await wake_lane(owner, identifier(lane_row.row_key))
    except StorageUnavailableError as error:
        log.warning("Jobs wait for the sweeper: %s", error)
