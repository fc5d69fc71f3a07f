"""At the edge of a budget, many instances at once spend no more than the stated bound.

The bound: what the turns in flight when the last turn was admitted use beyond their estimates. A
turn is in flight until what it used is settled. To that comes what a killed instance had spent of
its claim and not written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random, randrange

import pytest

from shared.config.spending import read_budgets
from shared.metering.budgets.account import CLAIM_LASTS
from shared.metering.budgets.budgets import Budgets
from shared.metering.budgets.limits import Amount, BudgetExhaustedError
from shared.state.table import Change, Row
from tests.support.fakes import FakeClock, FakeTable

ROUNDS = int(os.environ.get("BUDGET_ROUNDS", "25"))
SEED = int(os.environ.get("BUDGET_SEED", "0")) or randrange(10**6)  # noqa: S311
SENDS = 100
OWNER = "tid:oid"


class SlowTable(FakeTable):
    """A table whose answers come in any order."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        await self._wait()
        etag = await super().write(partition, changes)
        await self._wait()
        return etag

    async def scan(
        self,
        partition: str,
        after: str,
        before: str,
        *,
        limit: int,
        where: str = "",
        select: Sequence[str] = (),
    ) -> list[Row]:
        await self._wait()
        rows = await super().scan(partition, after, before, limit=limit, where=where, select=select)
        await self._wait()
        return rows

    async def _wait(self) -> None:
        for _ in range(self._random.randrange(8)):
            await asyncio.sleep(0)


@dataclass
class Race:
    """Sends of one round, and what they come to."""

    random: Random
    limit: int
    budgets: list[Budgets]
    excess: dict[int, int] = field(default_factory=dict[int, int])
    """Of turns in flight: what they will use beyond their estimates."""
    bound: int = 0
    used: int = 0
    refused: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, number: int) -> None:
        for _ in range(self.random.randrange(20)):
            await asyncio.sleep(0)
        estimate = self.random.randint(50, 150)
        actual = self.random.choice([estimate, self.random.randint(0, 2 * estimate)])
        budgets = self.random.choice(self.budgets)
        try:
            hold = await budgets.reserve(OWNER, None, Amount(tokens=estimate, requests=1))
        except BudgetExhaustedError:
            self.refused += 1
            return
        self.excess[number] = max(actual - estimate, 0)
        self.bound = sum(self.excess.values())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        async with hold:
            for _ in range(self.random.randrange(60)):
                await asyncio.sleep(0)
            self.used += actual
            self.in_flight -= 1
            hold.spend(Amount(tokens=actual, requests=1))
        del self.excess[number]


def instances(table: FakeTable, text: str, clock: FakeClock) -> list[Budgets]:
    return [Budgets(read_budgets(text), table, clock) for _ in range(3)]


@pytest.mark.timeout(600)
async def test_racers_at_the_edge_spend_no_more_than_the_bound() -> None:
    print(f"BUDGET_SEED={SEED} BUDGET_ROUNDS={ROUNDS}")  # noqa: T201 - to repeat it
    random = Random(SEED)  # noqa: S311
    worst, unused, admitted = 0, 0, 0
    for _ in range(ROUNDS):
        clock, table = FakeClock(), SlowTable(random)
        limit = random.randint(500, 6_000)
        text = f'[{{"owner": "*", "tokens": {limit}, "per": "day"}}]'
        race = Race(random, limit, instances(table, text, clock))
        await asyncio.gather(*(race.send(number) for number in range(SENDS)))
        assert race.used - limit <= race.bound, (SEED, race)
        worst = max(worst, race.used - limit)
        unused = max(unused, limit - race.used)
        admitted += SENDS - race.refused
        for budgets in race.budgets:
            await budgets.aclose()
        rows = table.rows(next(iter(table.partitions)))
        assert sum(row.values["spent"] for row in rows) == race.used
        assert all(row.values["claimed"] == row.values["spent"] for row in rows)
        last = instances(table, text, clock)[0]
        if race.used > limit:
            with pytest.raises(BudgetExhaustedError):
                await last.reserve(OWNER, None, Amount(tokens=1))
    assert admitted > 0
    print(  # noqa: T201 - the figures of the long run
        f"{ROUNDS} rounds: {admitted} of {ROUNDS * SENDS} admitted; overspent at most {worst}, "
        f"left unused at most {unused}"
    )


@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_no_more_turns_are_in_flight_than_allowed(limit: int) -> None:
    random = Random(SEED)  # noqa: S311
    for _ in range(max(ROUNDS // 10, 5)):
        clock, table = FakeClock(), SlowTable(random)
        text = f'[{{"owner": "*", "concurrent": {limit}}}]'
        race = Race(random, limit, instances(table, text, clock))
        await asyncio.gather(*(race.send(number) for number in range(SENDS)))
        assert race.most_in_flight <= limit, SEED
        assert race.refused < SENDS
        for budgets in race.budgets:
            await budgets.aclose()


async def test_exact_requests_never_exceed_their_limit() -> None:
    random = Random(SEED)  # noqa: S311
    for _ in range(max(ROUNDS // 10, 5)):
        clock, table = FakeClock(), SlowTable(random)
        text = '[{"owner": "*", "requests": 40, "per": "minute"}]'
        race = Race(random, 40, instances(table, text, clock))
        await asyncio.gather(*(race.send(number) for number in range(SENDS)))
        assert SENDS - race.refused <= 40, SEED
        clock.advance(60)
        again = Race(random, 40, race.budgets)
        await asyncio.gather(*(again.send(number) for number in range(30)))
        assert again.refused == 0
        for budgets in race.budgets:
            await budgets.aclose()


async def test_the_claim_of_a_killed_instance_runs_out() -> None:
    clock, table = FakeClock(), FakeTable()
    killed, other, _ = instances(table, '[{"owner": "*", "tokens": 1000, "per": "day"}]', clock)
    await killed.reserve(OWNER, None, Amount(tokens=900))  # and nothing is heard of it again
    with pytest.raises(BudgetExhaustedError) as refusal:
        await other.reserve(OWNER, None, Amount(tokens=200))
    assert refusal.value.left <= 100
    clock.advance(CLAIM_LASTS / timedelta(seconds=1) + 1)
    async with await other.reserve(OWNER, None, Amount(tokens=200)) as hold:
        hold.spend(Amount(tokens=200))
    await other.aclose()
    killed._task.cancel()  # type: ignore[union-attr]
