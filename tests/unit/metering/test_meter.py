"""What the meter counts, writes, keeps when it cannot write, and never counts twice."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.app import Services
from shared.foundry.models import TurnRequest
from shared.metering.counts import FLEET, Counts, Sums, View
from shared.metering.meter import Meter
from shared.metering.rows import sums_of
from shared.state.days import DAYS_PARTITION
from shared.state.errors import StorageUnavailableError
from shared.state.table import Row
from shared.state.turns import Attribution, TurnEffort, TurnMode, TurnRecord, TurnStatus
from shared.turns.pipeline import TurnCommand
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import FakeTable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TURN = TurnRecord(
    turn_id="turn_01K00000000000000000000000",
    owner=OWNER,
    thread_id=None,
    job_id=None,
    mode=TurnMode.SYNC,
    status=TurnStatus.SUCCEEDED,
    created_at=NOON,
    latency=0.5,
    domain="general",
    model="m",
    usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    effort=TurnEffort(overhead=0.001, cost=7),
    attribution=Attribution("finance", "u-1"),
)


def written(table: FakeTable, scope: str, view: View = View.SERIES) -> list[Row]:
    return table.rows(f"{scope}!2026-03-01", f"minute|{view}|")


def total(rows: list[Row]) -> Counts:
    counts = Counts()
    for each in sums_of(rows).values():
        counts.merge(each)
    return counts


async def test_a_turn_counts_for_its_owner_and_for_the_fleet_in_both_views() -> None:
    table = FakeTable()
    meter = Meter(table)
    meter.record(TURN)
    meter.record(replace(TURN, status=TurnStatus.FAILED, error_code="timeout"))
    assert table.transactions == 0
    await meter.aclose()
    series: Sums = sums_of(written(table, OWNER))
    assert list(series) == [("general", "m", "", "sync", "")]
    assert series[("general", "m", "", "sync", "")].failures == {"timeout": 1}
    usage = sums_of(written(table, FLEET, View.USAGE))
    assert list(usage) == [(OWNER, "finance", "u-1", "general", "m", "", "")]
    assert {row.row_key for row in table.rows(DAYS_PARTITION)} == {
        f"2026-03-01!{OWNER}",
        f"2026-03-01!{FLEET}",
    }
    assert table.closed


async def test_turns_stand_in_the_minute_in_which_they_began() -> None:
    table = FakeTable()
    meter = Meter(table)
    for seconds in (0, 59, 60, 86_400):
        meter.record(replace(TURN, created_at=NOON + timedelta(seconds=seconds)))
    await meter.flush()
    assert [row.row_key[:20] for row in written(table, OWNER)] == [
        "minute|series|12:00|",
        "minute|series|12:01|",
    ]
    assert len(table.rows(f"{OWNER}!2026-03-02", "minute|series|12:00|")) == 1
    await meter.aclose()


async def test_two_instances_never_write_the_same_row() -> None:
    table = FakeTable()
    meters = [Meter(table), Meter(table)]
    for meter in meters:
        for _ in range(2):
            meter.record(TURN)
            await meter.flush()
    assert len(written(table, OWNER)) == 4
    assert total(written(table, OWNER)).requests == 4
    for meter in meters:
        await meter.aclose()


async def test_what_could_not_be_written_is_kept_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = FakeTable()
    meter = Meter(table)
    meter.record(TURN)
    table.available = False
    with caplog.at_level(logging.WARNING):
        assert not await meter.flush()
    assert "Counts are kept" in caplog.text
    meter.record(TURN)
    table.available = True
    assert await meter.flush()
    assert total(written(table, OWNER)).requests == 2
    await meter.aclose()


async def test_a_flush_whose_answer_was_lost_does_no_harm() -> None:
    table = FakeTable()
    meter = Meter(table)
    meter.record(TURN)
    await meter.flush()  # the days are known from now on
    for _ in range(4):
        meter.record(TURN)
        table.lose_next_answer()
        await meter.flush()
    await meter.flush()
    assert total(written(table, OWNER)).requests == 5
    assert total(written(table, FLEET)).requests == 5
    await meter.aclose()


async def test_many_kinds_of_turns_take_several_transactions() -> None:
    table = FakeTable()
    meter = Meter(table)
    for number in range(250):
        meter.record(replace(TURN, attribution=Attribution(user_id=f"u-{number}")))
    await meter.flush()
    assert len(written(table, OWNER, View.USAGE)) == 250
    await meter.aclose()


async def test_the_app_counts_what_it_commits(app: App, services: Services) -> None:
    app.table.fail_next_write()
    request = TurnRequest("Hi", metadata={"department": "finance"})
    command = TurnCommand(OWNER, request, 60)
    with pytest.raises(StorageUnavailableError):
        await services.core.turns.run(command)
    await services.core.turns.run(command)
    await services.core.meter.flush()
    ((key, counts),) = sums_of(written(app.metrics_table, OWNER, View.USAGE)).items()
    assert key[:2] == (OWNER, "finance")
    assert (counts.requests, counts.total_tokens, counts.unknown_usage) == (1, 5, 0)
    assert services.core.meter.in_flight(OWNER) == 0
