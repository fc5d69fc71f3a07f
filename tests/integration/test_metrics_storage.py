"""Counts and budgets on a real table service."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from subprocess import CompletedProcess

import pytest

from local.services import Azurite
from shared.config import StorageSettings
from shared.config.spending import read_budgets
from shared.metering.budgets.budgets import Budgets
from shared.metering.budgets.limits import Amount, BudgetExhaustedError
from shared.metering.counts import FLEET, Counts, View
from shared.metering.gauges import Gauges
from shared.metering.meter import Meter
from shared.metering.reading import MetricsReader, Window
from shared.metering.roll_up import Rebuilder, RollUp
from shared.state.account import open_tables
from shared.state.clock import StorageClock
from shared.state.keys import Kind, new_id, partition_key
from shared.state.table import Table
from shared.state.turns import Attribution, TurnEffort, TurnRecord
from tests.support import forking
from tests.support.fakes import FakeClock
from tests.unit.metering.test_meter import TURN

OWNER = "tenant/owner=1"


@dataclass
class Storage:
    """Two tables that nobody has made yet."""

    state: Table
    metrics: Table


@pytest.fixture
async def storage(azurite: Azurite) -> AsyncIterator[Storage]:
    state, audit, metrics = (f"t{uuid.uuid4().hex}" for _ in range(3))
    settings = StorageSettings(
        connection_string=azurite.connection_string,
        state_table=state,
        audit_table=audit,
        metrics_table=metrics,
    )
    tables = open_tables(settings, None, StorageClock())
    yield Storage(tables.state, tables.metrics)
    for table in (tables.state, tables.audit, tables.metrics):
        await table.aclose()


def turns(clock: FakeClock) -> list[TurnRecord]:
    return [
        replace(
            TURN,
            turn_id=new_id(Kind.TURN),
            owner=OWNER,
            created_at=clock() + timedelta(minutes=number),
            attribution=Attribution("finance" if number % 2 else None, f"u-{number % 120}"),
            effort=TurnEffort(overhead=0.01, retries=number % 3, cost=number or None),
        )
        for number in range(150)
    ]


def total(sums: dict[tuple[str, ...], Counts]) -> Counts:
    counts = Counts()
    for each in sums.values():
        counts.merge(each)
    return counts


async def test_what_is_counted_is_read_summed_up_and_rebuilt(storage: Storage) -> None:
    clock = FakeClock()
    all_turns = turns(clock)
    expected = Counts()
    for turn in all_turns:
        await storage.state.write(partition_key(OWNER), [turn.insert()])
        expected.add(turn)
    meter = Meter(storage.metrics)
    for turn in all_turns[:100]:  # the rest was never written
        meter.record(turn)
    assert await meter.flush()
    reader = MetricsReader(storage.metrics, Meter(storage.metrics), clock)
    clock.advance(150 * 60)
    _, sums = await reader.window(OWNER, View.SERIES, Window.DAY)
    assert total(sums).requests == 100
    await RollUp(storage.metrics, clock).run()
    _, sums = await reader.window(FLEET, View.USAGE, Window.DAY)
    assert total(sums).requests == 100
    clock.advance(86_400)
    rebuilder = Rebuilder(storage.state, storage.metrics, clock)
    day = all_turns[0].created_at.date()
    for _ in range(2):
        assert await rebuilder.day(day, lambda _: None) == 150
        for scope in (OWNER, FLEET):
            for view in (View.SERIES, View.USAGE):
                ((found, sums),) = await reader.by_day(scope, view, day, day)
                assert found == day
                assert total(sums).to_values() == expected.to_values()
    gauges = await Gauges(storage.state, clock).of(OWNER)
    assert (gauges.threads, gauges.jobs_waiting, gauges.complete) == (0, 0, True)
    await meter.aclose()


async def test_a_budget_is_shared_by_two_instances(storage: Storage) -> None:
    clock = FakeClock()
    budgets = read_budgets('[{"owner": "*", "tokens": 100, "per": "day"}]')
    one, other = (Budgets(budgets, storage.metrics, clock) for _ in range(2))
    async with await one.reserve(OWNER, None, Amount(60)) as hold:
        hold.spend(Amount(60))
    with pytest.raises(BudgetExhaustedError, match="40 are left"):
        await other.reserve(OWNER, None, Amount(41))
    await (await other.reserve(OWNER, None, Amount(40))).settle()
    await one.aclose()
    await other.aclose()


def test_the_command_rebuilds_a_day_that_is_over(azurite: Azurite) -> None:
    tables = {"STATE_TABLE_NAME": "nothing", "METRICS_TABLE_NAME": "nothing2"}
    storage = {"AzureWebJobsStorage": azurite.connection_string}

    def run(day: date) -> CompletedProcess[str]:
        return forking.run(
            *("shared.commands.rebuild_metrics", day.isoformat(), "--quiet"),
            environment={**os.environ, **storage, **tables},
        )

    today = datetime.now(UTC).date()
    done, early, late = (run(today - timedelta(days=days)) for days in (2, 0, 1000))
    assert (done.returncode, done.stdout) == (0, f"{today - timedelta(days=2)}: 0 turns\n")
    assert early.returncode == late.returncode == 1
    assert "can be rebuilt from" in early.stderr
    assert "kept for 90 days" in late.stderr
