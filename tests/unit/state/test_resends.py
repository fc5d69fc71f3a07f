"""Requests that an SDK sends again without a key: one of them runs, whenever the others come."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.state.claims import MARK_SECONDS, Claim, KeptAnswer
from shared.state.errors import KeyInUseError
from shared.state.idempotency import RESEND_WINDOW, SETTLE_SECONDS, IdempotencyKeys
from shared.state.keys import Kind, partition_key
from tests.support.fakes import FakeClock, FakeTable
from tests.support.skipping_time import run_skipping

OWNER = "tid:oid"
PARTITION = partition_key(OWNER)
ANSWER = KeptAnswer(200, {}, {"content": "one"})


class Keys:
    def __init__(self) -> None:
        self.clock, self.table = FakeClock(), FakeTable()
        self.keys = IdempotencyKeys(self.table, self.clock)

    def first(self) -> Claim:
        self.clock.advance(0.001)
        return self.keys.first_attempt(OWNER, "digest", "digest", None)

    async def later(self) -> Claim | KeptAnswer:
        return await self.keys.later_attempt(OWNER, "digest", "digest", None)

    async def commit(self, claim: Claim, answer: KeptAnswer = ANSWER) -> None:
        await self.table.write(PARTITION, [claim.finish(answer)])

    def rows(self) -> list[dict[str, Any]]:
        return [dict(row.values) for row in self.table.rows(PARTITION, "idem:")]


@pytest.fixture
def keys() -> Keys:
    return Keys()


async def test_a_first_attempt_costs_no_transaction_of_its_own(keys: Keys) -> None:
    async with keys.first() as claim:
        await keys.commit(claim)
    assert (keys.table.reads, keys.table.writes) == (0, 1)
    assert await keys.later() == ANSWER


def test_one_that_runs_for_long_is_found(keys: Keys) -> None:
    async def run() -> None:
        async with keys.first() as claim:
            await asyncio.sleep(MARK_SECONDS + 0.1)
            with pytest.raises(KeyInUseError):
                await keys.later()
            await keys.commit(claim)
        assert await keys.later() == ANSWER

    run_skipping(run())


@pytest.mark.parametrize("begins_after", [0.1, MARK_SECONDS + 0.1])
def test_a_later_attempt_gives_way_to_a_first_that_is_not_written_yet(
    keys: Keys, begins_after: float
) -> None:
    async def run() -> None:
        async with keys.first() as claim:
            later = asyncio.create_task(keys.later())
            await asyncio.sleep(begins_after)
            await keys.commit(claim)
        assert await later == ANSWER

    run_skipping(run())


def test_a_first_attempt_that_never_came_is_replaced(keys: Keys) -> None:
    async def run() -> None:
        started = asyncio.get_running_loop().time()
        assert isinstance(await keys.later(), Claim)
        assert asyncio.get_running_loop().time() - started >= SETTLE_SECONDS

    run_skipping(run())


async def test_a_thread_s_lease_writes_the_row(keys: Keys) -> None:
    claim = keys.first()
    await keys.table.write(PARTITION, [await claim.begin("conv item")])
    with pytest.raises(KeyInUseError):
        await keys.later()
    keys.clock.advance(keys.keys.hold_seconds + 1)  # its worker died
    later = await keys.later()
    assert isinstance(later, Claim)
    assert later.id(Kind.TURN) == claim.id(Kind.TURN)
    assert later.first_try
    assert later.first_try.item_id == "item"


async def test_a_failure_that_may_pass_frees_the_request(keys: Keys) -> None:
    claim = keys.first()
    await keys.table.write(PARTITION, [claim.reopen()])
    assert isinstance(await keys.later(), Claim)


async def test_a_request_that_is_refused_leaves_nothing(keys: Keys) -> None:
    async with keys.first() as claim:
        await claim.give_up()
    assert keys.rows() == []


async def test_an_equal_request_that_is_new_is_another_one(keys: Keys) -> None:
    await keys.commit(keys.first())
    second = keys.first()
    await keys.commit(second, KeptAnswer(200, {}, {"content": "two"}))
    answer = await keys.later()
    assert isinstance(answer, KeptAnswer)
    assert answer.body == {"content": "two"}


def test_an_equal_request_that_still_runs_is_joined(keys: Keys) -> None:
    async def run() -> None:
        await keys.commit(keys.first())
        async with keys.first():
            await asyncio.sleep(MARK_SECONDS + 0.1)
            with pytest.raises(KeyInUseError):
                await keys.later()

    run_skipping(run())


def test_a_request_of_long_ago_is_another_one(keys: Keys) -> None:
    async def run() -> None:
        claim = keys.first()
        await keys.commit(claim)
        keys.clock.advance(RESEND_WINDOW / timedelta(seconds=1))
        later = await keys.later()
        assert isinstance(later, Claim)
        assert later.id(Kind.TURN) != claim.id(Kind.TURN)

    run_skipping(run())


def test_an_answer_is_never_overwritten_by_its_mark(keys: Keys) -> None:
    async def run() -> None:
        async with keys.first() as claim:
            await keys.commit(claim)
            await asyncio.sleep(MARK_SECONDS + 0.1)
        assert await keys.later() == ANSWER

    run_skipping(run())
