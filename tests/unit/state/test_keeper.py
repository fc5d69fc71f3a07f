"""A lease is kept for as long as its turn takes, or the turn is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from shared.state.errors import LaneBusyError, LeaseLostError, StorageUnavailableError
from shared.state.keeper import RENEWALS_PER_LEASE, LeaseKeeper
from shared.state.lanes import LEASE_MARGIN_SECONDS, LEASE_SECONDS, Lanes, Lease
from shared.state.table import Change, Operation
from tests.support.fakes import FakeClock, FakeTable
from tests.support.skipping_time import LoopClock, run_skipping

OWNER, LANE = "o", "thread:x"
RENEW_SECONDS = LEASE_SECONDS / RENEWALS_PER_LEASE


class Stage:
    """A lane with a lease, and another instance that would like to have it."""

    def __init__(self) -> None:
        self.table = FakeTable()
        self.lanes = Lanes(self.table, LoopClock())
        self.other = Lanes(self.table, LoopClock())

    async def lease(self) -> Lease:
        await self.table.write(OWNER, [Change(Operation.INSERT, LANE, {"kept": 1})])
        return await self.lanes.take(OWNER, LANE, "t1")

    async def is_busy(self) -> bool:
        try:
            await self.other.take(OWNER, LANE, "t2")
        except LaneBusyError:
            return True
        return False

    async def let_somebody_take_over(self) -> None:
        """Storage is out of reach until our lease has ended; then the other one is first."""
        self.table.available = False
        await asyncio.sleep(LEASE_SECONDS + 1)
        self.table.available = True
        assert not await self.is_busy()


def on_stage(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    """Run a test whose time skips."""

    def run() -> None:
        async def main() -> None:
            await test(Stage())
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run_skipping(main())

    run.__name__ = test.__name__
    return run


@on_stage
async def test_a_long_turn_keeps_its_lease(stage: Stage) -> None:
    async with LeaseKeeper(stage.lanes, await stage.lease()) as keeper:
        for _ in range(10):
            await asyncio.sleep(LEASE_SECONDS * 0.9)
            assert await stage.is_busy()
    row = await stage.lanes.release(keeper.lease, {"done": 1})
    assert (row.values["done"], row.values["kept"]) == (1, 1)


@on_stage
async def test_a_short_turn_costs_nothing_more(stage: Stage) -> None:
    lease = await stage.lease()
    stage.table.reset_counts()
    async with LeaseKeeper(stage.lanes, lease):
        await asyncio.sleep(RENEW_SECONDS - 1)
    assert stage.table.transactions == 0


@on_stage
async def test_a_renewal_or_two_may_fail(stage: Stage) -> None:
    async with LeaseKeeper(stage.lanes, await stage.lease()):
        await asyncio.sleep(RENEW_SECONDS - 1)
        stage.table.available = False
        await asyncio.sleep(RENEW_SECONDS)
        stage.table.available = True
        await asyncio.sleep(RENEW_SECONDS * 1.5)
        assert await stage.is_busy()
        await asyncio.sleep(LEASE_SECONDS)
        assert await stage.is_busy()


@on_stage
async def test_a_lease_that_somebody_took_over_ends_the_turn(stage: Stage) -> None:
    steps: list[str] = []

    async def turn() -> None:
        async with LeaseKeeper(stage.lanes, await stage.lease()):
            await stage.let_somebody_take_over()
            steps.append("taken over")
            await asyncio.sleep(LEASE_SECONDS)
            steps.append("went on")

    with pytest.raises(LeaseLostError):
        await turn()
    assert steps == ["taken over"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_stage
async def test_a_lost_lease_allows_no_last_request_either(stage: Stage) -> None:
    async def turn() -> None:
        async with LeaseKeeper(stage.lanes, await stage.lease()) as keeper:
            await stage.let_somebody_take_over()
            try:
                await asyncio.sleep(LEASE_SECONDS)
            finally:
                await keeper.ensure_held()

    with pytest.raises(LeaseLostError):
        await turn()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_stage
async def test_a_turn_that_is_cancelled_is_just_cancelled(stage: Stage) -> None:
    lease = await stage.lease()

    async def turn() -> None:
        async with LeaseKeeper(stage.lanes, lease):
            await asyncio.sleep(1000)

    running = asyncio.create_task(turn())
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@on_stage
async def test_a_turn_that_fails_fails_as_it_did(stage: Stage) -> None:
    lease = await stage.lease()
    with pytest.raises(RuntimeError, match="mine"):
        async with LeaseKeeper(stage.lanes, lease):
            raise RuntimeError("mine")


@on_stage
async def test_what_is_noted_is_there_at_once_and_the_lease_lasts_anew(stage: Stage) -> None:
    async with LeaseKeeper(stage.lanes, await stage.lease()) as keeper:
        await asyncio.sleep(RENEW_SECONDS - 1)
        await keeper.note({"conversation_id": "conv_1"})
        row = await stage.other.read(OWNER, LANE, fresh=True)
        assert row.values["conversation_id"] == "conv_1"
        assert stage.other.busy_seconds(row) > LEASE_SECONDS - 1
        assert keeper.lease.row.values["conversation_id"] == "conv_1"
        await asyncio.sleep(LEASE_SECONDS * 2)
    released = await stage.lanes.release(keeper.lease, {})
    assert released.values["conversation_id"] == "conv_1"


@on_stage
async def test_what_others_wrote_meanwhile_stays(stage: Stage) -> None:
    async with LeaseKeeper(stage.lanes, await stage.lease()) as keeper:
        await stage.table.write(OWNER, [Change(Operation.MERGE, LANE, {"job_tail": 1})])
        await asyncio.sleep(LEASE_SECONDS)
    assert (await stage.lanes.release(keeper.lease, {})).values["job_tail"] == 1


@on_stage
async def test_a_note_on_a_lost_lease_is_refused(stage: Stage) -> None:
    async with LeaseKeeper(stage.lanes, await stage.lease()) as keeper:
        await stage.let_somebody_take_over()
        with pytest.raises(LeaseLostError):
            await keeper.note({"late": True})


class Stalled:
    """A lane whose holder stands still: no renewal runs while the clocks go on."""

    def __init__(self) -> None:
        self.table, self.clock, self.passed = FakeTable(), FakeClock(), 0.0
        self.lanes = Lanes(self.table, self.clock, LEASE_SECONDS, lambda: self.passed)
        self.other = Lanes(self.table, self.clock)

    async def keeper(self) -> LeaseKeeper:
        await self.table.write(OWNER, [Change(Operation.INSERT, LANE, {})])
        lease = await self.lanes.take(OWNER, LANE, "t1")
        self.table.reset_counts()
        return LeaseKeeper(self.lanes, lease)

    def stand_still(self, seconds: float) -> None:
        self.passed += seconds
        self.clock.advance(seconds)


@pytest.fixture
def stalled() -> Stalled:
    return Stalled()


SURE_SECONDS = LEASE_SECONDS - LEASE_MARGIN_SECONDS


async def test_a_lease_that_surely_is_held_costs_no_call(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    stalled.stand_still(SURE_SECONDS - 0.1)
    await keeper.ensure_held()
    assert stalled.table.transactions == 0


async def test_a_lease_that_may_have_ended_is_renewed_once(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    for seconds in (SURE_SECONDS, LEASE_SECONDS, LEASE_SECONDS * 10):
        stalled.table.reset_counts()
        stalled.stand_still(seconds)
        await keeper.ensure_held()
        await keeper.ensure_held()
        assert stalled.table.transactions == 1
        with pytest.raises(LaneBusyError):
            await stalled.other.take(OWNER, LANE, "t2")


async def test_either_clock_alone_brings_doubt(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    stalled.passed += LEASE_SECONDS
    await keeper.ensure_held()
    stalled.clock.advance(LEASE_SECONDS)
    await keeper.ensure_held()
    assert stalled.table.transactions == 2


async def test_a_lease_counts_from_before_its_request_was_sent(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    write = stalled.table.write

    async def slow_write(partition: str, changes: Sequence[Change]) -> str:
        etag = await write(partition, changes)
        stalled.passed += SURE_SECONDS
        return etag

    stalled.table.write = slow_write  # type: ignore[method-assign]
    stalled.stand_still(LEASE_SECONDS)
    with pytest.raises(StorageUnavailableError, match="longer to renew than it lasts"):
        await keeper.ensure_held()
    assert stalled.table.transactions == RENEWALS_PER_LEASE


async def test_a_lease_that_was_taken_over_is_noticed_before_a_renewal(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    stalled.stand_still(LEASE_SECONDS)
    await stalled.other.take(OWNER, LANE, "t2")
    with pytest.raises(LeaseLostError):
        await keeper.ensure_held()


async def test_in_doubt_without_storage_nothing_may_be_sent(stalled: Stalled) -> None:
    keeper = await stalled.keeper()
    stalled.stand_still(LEASE_SECONDS)
    stalled.table.available = False
    with pytest.raises(StorageUnavailableError):
        await keeper.ensure_held()
