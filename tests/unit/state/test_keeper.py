"""A lease is kept for as long as its turn takes, or the turn is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.state.errors import LaneBusyError, LeaseLostError
from shared.state.keeper import RENEWALS_PER_LEASE, LeaseKeeper
from shared.state.lanes import LEASE_SECONDS, Lanes, Lease
from shared.state.table import Change, Operation
from tests.fakes import FakeTable

from ..skipping_time import LoopClock, run_skipping

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
