"""Leases: one turn at a time, and a holder who was passed cannot commit."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from shared.state.errors import (
    LaneBusyError,
    LeaseLostError,
    RowChangedError,
    RowMissingError,
    StorageUnavailableError,
)
from shared.state.lanes import (
    EXPIRES_AT,
    HIDDEN,
    LEASE_SECONDS,
    REMEMBERED_CHARS,
    REMEMBERED_ROWS,
    Lanes,
    has_waiting,
    head_sequence,
)
from shared.state.table import Change, Operation, Row
from tests.support.fakes import FakeClock, FakeTable

OWNER = "o"
LANE = "thread:x"


class Instance:
    """One app instance's view of the lanes."""

    def __init__(self, table: FakeTable, clock: FakeClock) -> None:
        self.lanes = Lanes(table, clock)
        self.take = self.lanes.take

    async def read(self) -> Row:
        return await self.lanes.read(OWNER, LANE, fresh=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def table() -> FakeTable:
    table = FakeTable()
    await table.write(OWNER, [Change(Operation.INSERT, LANE, {"kept": "yes"})])
    table.reset_counts()
    return table


@pytest.fixture
def one(table: FakeTable, clock: FakeClock) -> Instance:
    return Instance(table, clock)


@pytest.fixture
def other(table: FakeTable, clock: FakeClock) -> Instance:
    return Instance(table, clock)


async def test_a_lease_is_taken_and_given_back(one: Instance) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    assert lease.fence == 1
    assert one.lanes.busy_seconds(await one.read()) == 60
    row = await one.lanes.release(lease, {"done": 1})
    assert row.values["done"] == 1
    assert row.values["kept"] == "yes"
    assert one.lanes.busy_seconds(await one.read()) == 0


async def test_each_lease_has_a_higher_fence(one: Instance, other: Instance) -> None:
    for expected, instance in enumerate((one, other, one, one), start=1):
        lease = await instance.take(OWNER, LANE, f"t{expected}")
        assert lease.fence == expected
        await instance.lanes.release(lease, {})


async def test_a_busy_lane_says_for_how_long(
    one: Instance, other: Instance, clock: FakeClock
) -> None:
    await one.take(OWNER, LANE, "t1")
    clock.advance(18)
    for instance in (one, other):
        with pytest.raises(LaneBusyError) as caught:
            await instance.take(OWNER, LANE, "t2")
        assert caught.value.retry_after == 42


async def test_an_expired_lease_is_taken_over_and_its_holder_cannot_commit(
    one: Instance, other: Instance, table: FakeTable, clock: FakeClock
) -> None:
    lost = await one.take(OWNER, LANE, "t1")
    clock.advance(60)
    taken = await other.take(OWNER, LANE, "t2")
    assert taken.fence == lost.fence + 1
    extra = Change(Operation.INSERT, "turn:t1", {"late": True})
    with pytest.raises(LeaseLostError):
        await one.lanes.release(lost, {"done": 1}, lambda _: [extra])
    assert await table.get(OWNER, "turn:t1") is None
    row = await other.lanes.release(taken, {})
    assert "done" not in row.values


async def test_a_holder_who_was_passed_and_whose_successor_is_done_cannot_commit(
    one: Instance, other: Instance, clock: FakeClock
) -> None:
    lost = await one.take(OWNER, LANE, "t1")
    clock.advance(61)
    await other.lanes.release(await other.take(OWNER, LANE, "t2"), {})
    with pytest.raises(LeaseLostError):
        await one.lanes.release(lost, {})


async def test_a_late_holder_nobody_passed_still_commits(one: Instance, clock: FakeClock) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    clock.advance(600)
    assert (await one.lanes.release(lease, {"done": 1})).values["done"] == 1


async def test_a_thread_that_expires_during_its_turn_is_still_committed(
    one: Instance, other: Instance, table: FakeTable, clock: FakeClock
) -> None:
    await table.write(
        OWNER, [Change(Operation.MERGE, LANE, {EXPIRES_AT: clock() + timedelta(seconds=30)})]
    )
    lease = await one.take(OWNER, LANE, "t1")
    await table.write(OWNER, [Change(Operation.MERGE, LANE, {"seen": True})])
    clock.advance(31)
    assert (await one.lanes.release(lease, {"done": 1})).values["done"] == 1
    with pytest.raises(RowMissingError):
        await other.read()


async def test_changes_by_those_who_need_no_lease_do_not_matter(
    one: Instance, other: Instance, table: FakeTable
) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    row = await other.read()
    await table.write(OWNER, [Change(Operation.MERGE, LANE, {"job_tail": 1}, row.etag)])
    released = await one.lanes.release(lease, {"done": 1})
    assert released.values["job_tail"] == 1
    assert has_waiting(released)


async def test_one_transaction_holds_lease_and_changes(one: Instance, table: FakeTable) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    table.reset_counts()
    await one.lanes.release(
        lease,
        {"a": 1},
        lambda _: [
            Change(Operation.INSERT, "turn:1", {"b": 2}),
            Change(Operation.MERGE, LANE, {"job_head": 2}),
        ],
    )
    assert table.writes == 1
    row = await one.read()
    assert (row.values["a"], row.values["job_head"]) == (1, 2)
    assert await table.get(OWNER, "turn:1") is not None


async def test_changes_are_made_for_the_row_as_it_stands_then(
    one: Instance, other: Instance
) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    await other.lanes.write(OWNER, await other.read(), {"job_tail": 7}, ())

    def changes(row: Row) -> list[Change]:
        return [Change(Operation.MERGE, LANE, {"stopped_at": row.values.get("job_tail")})]

    assert (await one.lanes.release(lease, {}, changes)).values["stopped_at"] == 7


async def test_a_lease_knows_whether_the_one_before_it_was_released(
    one: Instance, other: Instance, clock: FakeClock
) -> None:
    first = await one.take(OWNER, LANE, "t1")
    assert not first.taken_over
    clock.advance(LEASE_SECONDS)
    second = await other.take(OWNER, LANE, "t2")
    assert second.taken_over
    await other.lanes.release(second, {})
    assert not (await one.take(OWNER, LANE, "t3")).taken_over


async def test_a_renewed_lease_lasts_anew(one: Instance, other: Instance, clock: FakeClock) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    clock.advance(LEASE_SECONDS - 1)
    renewed = await one.lanes.renew(lease, {"noted": 1})
    assert (renewed.fence, renewed.row.values["noted"]) == (lease.fence, 1)
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(LaneBusyError):
        await other.take(OWNER, LANE, "t2")
    clock.advance(1)
    await other.take(OWNER, LANE, "t2")
    with pytest.raises(LeaseLostError):
        await one.lanes.renew(renewed)


async def test_a_lane_that_nobody_holds_is_written_as_seen(
    one: Instance, other: Instance, clock: FakeClock
) -> None:
    seen = await one.read()
    lease = await other.take(OWNER, LANE, "t1")
    with pytest.raises(RowChangedError):
        await one.lanes.write_seen(OWNER, seen, {"n": 1}, ())
    with pytest.raises(LaneBusyError):
        await one.lanes.write_seen(OWNER, await one.read(), {"n": 1}, ())
    clock.advance(LEASE_SECONDS)
    row = await one.lanes.write_seen(OWNER, await one.read(), {"n": 1}, ())
    assert (row.values["n"], row.values["unsettled"]) == (1, True)
    with pytest.raises(LeaseLostError):
        await other.lanes.release(lease, {})


async def test_writing_a_lane_that_was_released_does_not_unsettle_it(one: Instance) -> None:
    await one.lanes.release(await one.take(OWNER, LANE, "t1"), {})
    row = await one.lanes.write_seen(OWNER, await one.read(), {"n": 1}, ())
    assert not row.values.get("unsettled")


async def test_a_remembered_row_needs_no_read(one: Instance, table: FakeTable) -> None:
    for holder, reads in (("t1", 1), ("t2", 0), ("t3", 0)):
        table.reset_counts()
        await one.lanes.release(await one.take(OWNER, LANE, holder), {})
        assert (table.reads, table.writes) == (reads, 2)


async def test_a_remembered_row_that_another_changed_is_read_again(
    one: Instance, other: Instance, table: FakeTable
) -> None:
    await one.lanes.release(await one.take(OWNER, LANE, "t1"), {"n": 1})
    await other.lanes.release(await other.take(OWNER, LANE, "t2"), {"n": 2})
    table.reset_counts()
    lease = await one.take(OWNER, LANE, "t3")
    assert lease.row.values["n"] == 2
    assert lease.fence == 3
    assert table.reads == 1


async def test_a_remembered_lease_that_ended_elsewhere_is_not_believed(
    one: Instance, other: Instance, clock: FakeClock
) -> None:
    held = await other.take(OWNER, LANE, "t1")
    await one.read()
    await other.lanes.release(held, {})
    clock.advance(1)
    assert (await one.take(OWNER, LANE, "t2")).fence == 2


async def test_a_row_whose_fate_is_unknown_is_forgotten(one: Instance, table: FakeTable) -> None:
    lease = await one.take(OWNER, LANE, "t1")
    table.lose_next_answer()
    with pytest.raises(StorageUnavailableError):
        await one.lanes.release(lease, {"done": 1})
    table.reset_counts()
    assert (await one.lanes.read(OWNER, LANE)).values["done"] == 1
    assert table.reads == 1


async def test_a_seen_row_must_still_be_as_seen(one: Instance, other: Instance) -> None:
    seen = await one.read()
    await other.lanes.release(await other.take(OWNER, LANE, "t1"), {})
    with pytest.raises(RowChangedError):
        await one.lanes.take_seen(OWNER, seen, "t2")


async def test_a_lane_that_is_not_there_cannot_be_leased(one: Instance, table: FakeTable) -> None:
    with pytest.raises(RowMissingError):
        await one.take(OWNER, "thread:none", "t")
    with pytest.raises(RowMissingError):
        await one.take("somebody", LANE, "t")
    await one.read()
    await table.write(OWNER, [Change(Operation.DELETE, LANE)])
    with pytest.raises(RowMissingError):
        await one.take(OWNER, LANE, "t")


async def test_a_hidden_lane_counts_as_missing(one: Instance, table: FakeTable) -> None:
    await one.read()
    await table.write(OWNER, [Change(Operation.MERGE, LANE, {HIDDEN: True})])
    with pytest.raises(RowMissingError):
        await one.take(OWNER, LANE, "t")


async def test_of_twenty_who_try_at_once_one_gets_it(table: FakeTable, clock: FakeClock) -> None:
    instances = [Instance(table, clock) for _ in range(20)]
    tries = (each.take(OWNER, LANE, f"t{n}") for n, each in enumerate(instances))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, LaneBusyError) for outcome in outcomes) == 19


async def test_what_was_used_longest_ago_is_forgotten_first(
    one: Instance, table: FakeTable
) -> None:
    for key in ("used", "idle", "used", *map(str, range(REMEMBERED_ROWS - 1))):
        one.lanes.remember(OWNER, Row(key, "e", {}))
    await one.lanes.read(OWNER, "used")
    assert table.reads == 0
    with pytest.raises(RowMissingError):
        await one.lanes.read(OWNER, "idle")
    assert table.reads == 1


async def test_large_rows_are_forgotten_before_they_fill_memory(
    one: Instance, table: FakeTable
) -> None:
    text = "x" * (REMEMBERED_CHARS // 10)
    for key in range(100):
        for _ in range(3):
            one.lanes.remember(OWNER, Row(str(key), "e", {"metadata": text}))
    for key in range(90, 100):
        await one.lanes.read(OWNER, str(key))
    assert table.reads == 0
    with pytest.raises(RowMissingError):
        await one.lanes.read(OWNER, "89")


@pytest.mark.parametrize(
    ("values", "head", "waiting"),
    [
        ({}, 1, False),
        ({"job_head": 1, "job_tail": 1}, 1, True),
        ({"job_head": 2, "job_tail": 1}, 2, False),
        ({"job_tail": 3}, 1, True),
    ],
)
def test_a_lanes_row_says_what_waits(values: dict[str, int], head: int, waiting: bool) -> None:
    row = Row(LANE, "e", values)
    assert (head_sequence(row), has_waiting(row)) == (head, waiting)
