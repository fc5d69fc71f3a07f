"""Leases: at most one turn runs on a lane at a time.

A lane is a row whose turns run one after the other: a thread, or a job without a thread. Its lease
names a holder and expires; each new lease has a higher fencing number, and a holder with a lower
number cannot commit.

Rows are cached between turns, because the last writer of a row knows its ETag. Taking a lease is
then one conditional write, and only a row that another instance changed is read again.
"""

from __future__ import annotations

import asyncio
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
"""The size limit of the cache, which drops the least recently used rows first. Most rows are small,
but metadata and the answers of a job may fill one."""

LEASE_SECONDS = 60.0
"""How long a lease lasts; a longer turn renews it (`keeper`)."""

LEASE_MARGIN_SECONDS = 1.5
"""A lease is not relied on this shortly before its end: the service's time has a resolution of 1 s,
so the clocks of two instances may differ by that, and sending a request takes some time."""

UNSETTLED = "unsettled"
"""Property of a thread whose last turn may be unfinished in Foundry."""

FIRST_LOOK_SECONDS = 0.25
MAX_LOOK_SECONDS = 1.0
"""The pause between two attempts to lease a busy lane; each attempt reads a row."""

EXPIRES_AT = "thread_expires_at"
"""Property of a thread that expires."""

HIDDEN = "hidden"
"""Property of a lane that is being deleted: it counts as missing."""

REMOVED_FROM = "removed_from"
"""Property of a thread that is being deleted: the time in its expiry marker."""

Clock = Callable[[], datetime]

ChangesFor = Callable[[Row], Sequence[Change]]
"""Further changes to write with a lane's row, given the row before the write."""

WakeLane = Callable[[str, str], Awaitable[None]]
"""Notify the workers that the lane of an owner has work: ``await wake(owner, lane)``."""


AlsoTake = Callable[[Row], Awaitable[Sequence[Change]]]
"""Further changes to write with a lease, given the lane's row; called again if the row changes."""


def _no_changes(_: Row) -> Sequence[Change]:
    return ()


async def _nothing_else(_: Row) -> Sequence[Change]:
    return ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a turn on a lane until the lease expires."""

    owner: str
    holder: str
    row: Row
    """The lane's row after our last write."""
    renewed_at: float
    """When the last request to take or renew it started, by this machine's monotonic clock."""
    taken_over: bool = False
    """The previous holder did not release it, so its turn may be unfinished in Foundry."""

    @property
    def fence(self) -> int:
        """The fencing number, which rises with each lease of the lane."""
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
        self._remembered = _Remembered()

    async def read(self, owner: str, row_key: str, *, fresh: bool = False) -> Row:
        """The lane's row, from the cache unless ``fresh``.

        Raises:
            RowMissingError: if there is no such lane.
        """
        row = None if fresh else self._remembered.get((owner, row_key))
        if row is None and (row := await self._table.get(partition_key(owner), row_key)):
            self.remember(owner, row)
        if row is None or self._is_gone(row):
            self.forget(owner, row_key)
            raise RowMissingError(f"There is no row {row_key}.")
        return row

    def _is_gone(self, row: Row) -> bool:
        """Whether a lane counts as missing: it is being deleted, or expired and no job waits."""
        expires_at: datetime | None = row.values.get(EXPIRES_AT)
        expired = expires_at is not None and expires_at <= self._clock() and not has_waiting(row)
        return expired or bool(row.values.get(HIDDEN))

    def remember(self, owner: str, row: Row) -> None:
        """Cache a row that was just read or written."""
        self._remembered.put((owner, row.row_key), row)

    def forget(self, owner: str, row_key: str) -> None:
        """Drop a row from the cache, because it was changed and its new ETag is unknown."""
        self._remembered.drop((owner, row_key))

    async def take(
        self, owner: str, row_key: str, holder: str, also: AlsoTake = _nothing_else
    ) -> Lease:
        """Lease a lane for `lease_seconds`, in one transaction with the changes of ``also``.

        Raises:
            LaneBusyError: if another holder has the lease.
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
        """Lease a lane if its row is unchanged, in one transaction with ``changes``.

        Raises:
            LaneBusyError: if another holder has the lease.
            RowChangedError: if the row has changed.
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
        """Write properties that need no lease, if the lane's row is unchanged.

        Raises:
            RowChangedError: if the row has changed.
        """
        return await self._merge(owner, row, values, changes)

    async def write_seen(
        self, owner: str, row: Row, values: Mapping[str, Value], changes: Sequence[Change]
    ) -> Row:
        """Write a lane that has no lease, if its row is unchanged, without leasing it.

        Raises:
            LaneBusyError: if it is leased.
            RowChangedError: if the row has changed.
        """
        self._refuse_held(row)
        ended: dict[str, Value] = {**values, "lease_holder": ""}
        if row.values.get("lease_holder"):  # the holder died and its turn is not reconciled yet
            ended[UNSETTLED] = True
        return await self._merge(owner, row, ended, changes)

    def busy_seconds(self, row: Row) -> float:
        """Seconds until the lane's lease expires; 0 without a lease."""
        if not row.values.get("lease_holder"):
            return 0.0
        until: datetime = row.values["lease_until"]
        return max((until - self._clock()).total_seconds(), 0.0)

    async def renew(self, lease: Lease, values: Mapping[str, Value] | None = None) -> Lease:
        """Renew the lease for `lease_seconds` and write ``values`` into the lane's row.

        Raises:
            LeaseLostError: if another holder took over; nothing is written.
        """
        begun = self._monotonic()
        renewed = {**(values or {}), "lease_until": self._lease_end()}
        row = await self._write_as_holder(lease, renewed, _no_changes)
        return replace(lease, row=row, renewed_at=begun)

    def is_surely_held(self, lease: Lease) -> bool:
        """Whether no other instance can have taken over the lane yet, by both clocks.

        Neither is enough: the storage clock may have been corrected since, and the monotonic clock
        stops while a machine is paused.
        """
        passed = self._monotonic() - lease.renewed_at
        left = min(self.lease_seconds - passed, self.busy_seconds(lease.row))
        return left > LEASE_MARGIN_SECONDS

    async def release(
        self, lease: Lease, values: Mapping[str, Value], changes: ChangesFor = _no_changes
    ) -> Row:
        """Write ``values`` and end the lease, in one transaction with ``changes``.

        Raises:
            LeaseLostError: if another holder took over; nothing is written.
        """
        return await self._write_as_holder(lease, {**values, "lease_holder": ""}, changes)

    async def _write_as_holder(
        self, lease: Lease, values: Mapping[str, Value], changes: ChangesFor
    ) -> Row:
        """Write as long as the lease is ours.

        Writers that need no lease (a new job, new metadata) may change the row meanwhile; then the
        write is repeated.
        """
        row, contention = lease.row, Contention("the thread")
        while True:
            try:
                return await self._merge(lease.owner, row, values, changes(row))
            except RowChangedError as error:
                await contention.pause(error)
                row = await self._still_ours(lease)

    async def _still_ours(self, lease: Lease) -> Row:
        """The lane's current row, even of a thread that has expired meanwhile.

        Raises:
            LeaseLostError: if another holder has the lease.
        """
        row = await self._table.get(partition_key(lease.owner), lease.row.row_key)
        ours = (lease.holder, lease.fence)
        if row is None or (row.values.get("lease_holder"), row.values.get("lease_fence")) != ours:
            raise LeaseLostError("The lease of the turn expired and another worker took it over.")
        return row

    async def _merge(
        self, owner: str, row: Row, values: Mapping[str, Value | None], changes: Sequence[Change]
    ) -> Row:
        """Write the lane's row and all ``changes`` in one transaction."""
        others = [change for change in changes if change.row_key != row.row_key]
        for change in changes:
            if change.row_key == row.row_key:  # a transaction may have each row only once
                values = {**values, **change.values}
        guarded = Change(Operation.MERGE, row.row_key, values, row.etag)
        try:
            etag = await self._table.write(partition_key(owner), [guarded, *others])
        except BaseException:
            self.forget(owner, row.row_key)
            raise
        written = {name: value for name, value in values.items() if value is not None}
        merged = Row(row.row_key, etag, {**row.values, **written})
        self.remember(owner, merged)
        return merged


class _Remembered:
    """The rows used last, up to a number of rows and of characters."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], tuple[Row, int]] = OrderedDict()
        self._chars = 0

    def get(self, key: tuple[str, str]) -> Row | None:
        """A row, which is then the last one used."""
        if key not in self._rows:
            return None
        self._rows.move_to_end(key)
        return self._rows[key][0]

    def put(self, key: tuple[str, str], row: Row) -> None:
        """Keep a row, and drop the least recently used ones beyond the limits."""
        self.drop(key)
        size = sum(len(value) for value in row.values.values() if isinstance(value, str | bytes))
        self._rows[key] = row, size
        self._chars += size
        while len(self._rows) > REMEMBERED_ROWS or self._chars > REMEMBERED_CHARS:
            _, (_, oldest) = self._rows.popitem(last=False)
            self._chars -= oldest

    def drop(self, key: tuple[str, str]) -> None:
        """Drop a row, if it is kept."""
        _, size = self._rows.pop(key, (None, 0))
        self._chars -= size


def head_sequence(lane_row: Row) -> int:
    """The sequence number of the next job to run in a lane."""
    return int(lane_row.values.get("job_head", 1))


def has_waiting(lane_row: Row) -> bool:
    """Whether jobs wait in a lane."""
    return head_sequence(lane_row) <= int(lane_row.values.get("job_tail", 0))


async def wake_waiting(wake_lane: WakeLane, owner: str, lane_row: Row) -> None:
    """Wake a worker for the jobs that wait in a lane; if that fails, the sweeper does it."""
    if not has_waiting(lane_row):
        return
    try:
        await wake_lane(owner, identifier(lane_row.row_key))
    except StorageUnavailableError as error:
        log.warning("No worker could be woken; the sweeper will do it: %s", error)


async def when_free(take: Callable[[], Awaitable[Lease]], seconds: float) -> Lease:
    """Take a lease; retry for up to ``seconds`` while another holder has it."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + seconds, FIRST_LOOK_SECONDS
    while True:
        try:
            return await take()
        except LaneBusyError:
            if clock() >= end:
                raise
        await asyncio.sleep(min(pause, max(end - clock(), 0.0)))
        pause = min(pause * 2, MAX_LOOK_SECONDS)
