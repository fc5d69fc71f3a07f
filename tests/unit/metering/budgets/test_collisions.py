"""Instances that claim the rest of a budget at the same moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from shared.config.spending import read_budgets
from shared.metering.budgets.budgets import Budgets, Reservation
from shared.metering.budgets.limits import Amount, BudgetExhaustedError
from shared.state.table import Change
from tests.support.fakes import FakeClock, FakeTable

ONE_TURN = '[{"owner": "*", "concurrent": 1}]'
NEED = Amount(requests=1)


class LateTable(FakeTable):
    """A table that answers a write after every other instance has written as well."""

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        etag = await super().write(partition, changes)
        await asyncio.sleep(0.001)
        return etag


async def test_one_of_several_instances_gets_the_last_of_a_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)  # all pause for the same time
    table, clock = LateTable(), FakeClock()
    instances = [Budgets(read_budgets(ONE_TURN), table, clock) for _ in range(4)]
    results = await asyncio.gather(
        *(each.reserve("owner", None, NEED) for each in instances), return_exceptions=True
    )
    admitted = [each for each in results if isinstance(each, Reservation)]
    assert len(admitted) == 1
    assert [type(each) for each in results].count(BudgetExhaustedError) == 3

    await admitted[0].settle()  # and no claim of the others is left behind
    clock.advance(1)
    async with await instances[3].reserve("owner", None, NEED):
        pass
    for each in instances:
        await each.aclose()
