"""Counters of budgets go when nobody has used them for two months."""

from datetime import timedelta

from shared.metering.budgets.account import KEPT, remove_past_rows
from shared.metering.budgets.limits import BUDGET_PREFIX
from shared.state.table import Change, Operation
from tests.support.fakes import FakeClock, FakeTable


async def test_a_counter_goes_two_months_after_its_last_use() -> None:
    table, clock = FakeTable(), FakeClock()
    for partition, age in (("a", KEPT), ("b", KEPT - timedelta(days=1))):
        change = Change(Operation.INSERT, "instance", {"until": clock() - age})
        await table.write(f"{BUDGET_PREFIX}{partition}", [change])
    await table.write("$days", [Change(Operation.INSERT, "2026-01-01!key")])
    assert await remove_past_rows(table, clock()) == 1
    left = [name for name, rows in table.partitions.items() if rows]
    assert left == [f"{BUDGET_PREFIX}b", "$days"]
