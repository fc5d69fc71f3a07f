"""Idempotency keys: who may work on a request, and what the next one to do so knows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.state.errors import KeyInUseError
from shared.state.idempotency import (
    HOLD_SECONDS,
    RENEWALS_PER_HOLD,
    Claim,
    IdempotencyKeys,
    KeptAnswer,
)
from shared.state.keys import Kind, partition_key
from shared.state.turns import FirstTry
from tests.support.fakes import FakeClock, FakeTable
from tests.support.skipping_time import run_skipping

RENEW_SECONDS = HOLD_SECONDS / RENEWALS_PER_HOLD
OWNER = "tid:oid"
PARTITION = partition_key(OWNER)
ANSWER = KeptAnswer(200, {"location": "there"}, {"content": "äöü"})


class Keys:
    """One key of one owner."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.table = FakeTable()
        self.keys = IdempotencyKeys(self.table, self.clock)

    async def claim(self) -> Claim:
        claimed = await self.keys.claim(OWNER, "key", "fingerprint")
        assert isinstance(claimed, Claim)
        return claimed

    async def begin(self, claim: Claim, end_of_conversation: str) -> None:
        """Write what belongs into the transaction of the turn's lease."""
        await self.table.write(PARTITION, [await claim.begin(end_of_conversation)])

    def row(self) -> dict[str, Any]:
        (row,) = self.table.rows(PARTITION, "idem:")
        return dict(row.values)


@pytest.fixture
def keys() -> Keys:
    return Keys()


async def test_the_next_one_knows_when_the_message_was_tried_first(keys: Keys) -> None:
    first = await keys.claim()
    assert first.first_try is None
    await keys.begin(first, "msg_1")
    tried = FirstTry(keys.clock(), "msg_1")
    for later in ("msg_2", "msg_3"):
        keys.clock.advance(HOLD_SECONDS)
        again = await keys.claim()
        assert again.first_try == tried
        assert again.id(Kind.TURN) == first.id(Kind.TURN)
        await keys.begin(again, later)
    assert keys.row()["sent_after"] == "msg_1"


async def test_an_empty_conversation_is_a_place_as_well(keys: Keys) -> None:
    await keys.begin(await keys.claim(), "")
    keys.clock.advance(HOLD_SECONDS)
    assert (await keys.claim()).first_try is not None


async def test_an_attempt_that_failed_leaves_the_place_and_takes_other_ids(keys: Keys) -> None:
    first = await keys.claim()
    await keys.begin(first, "msg_1")
    await keys.table.write(PARTITION, [first.reopen()])
    again = await keys.claim()
    assert again.first_try == FirstTry(keys.clock(), "msg_1")
    assert again.id(Kind.TURN) != first.id(Kind.TURN)


async def test_a_key_that_came_to_nothing_is_forgotten(keys: Keys) -> None:
    await (await keys.claim()).give_up()
    assert keys.table.rows(PARTITION) == []
    lost = await keys.claim()
    await lost.begin("msg_1")  # and its transaction fails
    await lost.give_up()
    assert keys.table.rows(PARTITION) == []


async def test_a_key_whose_message_may_have_been_sent_is_not(keys: Keys) -> None:
    first = await keys.claim()
    await keys.begin(first, "msg_1")
    await first.give_up()
    assert (await keys.claim()).first_try is not None


async def test_one_that_was_taken_for_dead_cannot_begin(keys: Keys) -> None:
    """The version it knows fails its transaction; after that, it learns why."""
    slow = await keys.claim()
    await slow.begin("msg_1")  # and its transaction fails
    keys.clock.advance(HOLD_SECONDS)
    await keys.claim()
    with pytest.raises(KeyInUseError):
        await slow.begin("msg_1")
    await slow.give_up()
    with pytest.raises(KeyInUseError):
        await keys.claim()


def test_a_key_is_held_as_long_as_its_request_runs() -> None:
    async def story() -> None:
        keys = Keys()
        first = await keys.claim()
        async with first:
            await keys.begin(first, "msg_1")
            for _ in range(6):
                keys.clock.advance(RENEW_SECONDS)
                await asyncio.sleep(RENEW_SECONDS)
                with pytest.raises(KeyInUseError):
                    await keys.claim()
        await keys.table.write(PARTITION, [first.finish(ANSWER)])
        assert await keys.keys.claim(OWNER, "key", "fingerprint") == ANSWER

    run_skipping(story())
