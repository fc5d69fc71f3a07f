"""Hours and days come to the same as their minutes, however often they are summed up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from shared.app import Services
from shared.metering.counts import FLEET, Counts, Sums, View
from shared.metering.meter import Meter
from shared.metering.reading import MetricsReader, Window
from shared.metering.roll_up import RollUp
from shared.state.days import OWNERS_AT_ONCE
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import FakeClock, FakeTable

from .test_meter import TURN

START = datetime(2026, 2, 28, 21, 30, tzinfo=UTC)
OWNERS = 300


class Fleet:
    """Two instances, and time that passes."""

    def __init__(self) -> None:
        self.table, self.clock = FakeTable(), FakeClock(START)
        self.meters = [Meter(self.table), Meter(self.table)]
        self.roll_up = RollUp(self.table, self.clock)
        self.readers = [MetricsReader(self.table, meter, self.clock) for meter in self.meters]

    async def count(self, number: int, at: datetime | None = None) -> None:
        """A turn that is written."""
        self.meters[number].record(replace(TURN, created_at=at or self.clock()))
        await self.meters[number].flush()

    async def read(self, window: Window, scope: str = OWNER) -> int:
        """How many turns a reader that counted nothing itself sees."""
        reader = MetricsReader(self.table, Meter(self.table), self.clock)
        _, sums = await reader.window(scope, View.SERIES, window)
        return total(sums).requests

    async def by_day(self) -> dict[str, int]:
        reader = MetricsReader(self.table, Meter(self.table), self.clock)
        days = await reader.by_day(OWNER, View.USAGE, date(2026, 2, 1), date(2026, 3, 31))
        return {day.isoformat(): total(sums).requests for day, sums in days}


def total(sums: Sums) -> Counts:
    counts = Counts()
    for each in sums.values():
        counts.merge(each)
    return counts


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    yield fleet
    for meter in fleet.meters:
        await meter.aclose()


async def test_windows_show_the_same_before_and_after_summing_up(fleet: Fleet) -> None:
    for step in range(300):  # 30 hours, over midnight
        await fleet.count(step % 2)
        fleet.clock.advance(360)
    expected: dict[Any, int] = {}
    for window in Window:
        for scope in (OWNER, FLEET):
            expected[window, scope] = await fleet.read(window, scope)
    days = await fleet.by_day()
    assert expected[Window.HOUR, OWNER] == 9  # of the last 60 minutes, the one that runs included
    assert 230 <= expected[Window.DAY, OWNER] <= 240
    assert expected[Window.MONTH, FLEET] == sum(days.values()) == 300
    for _ in range(3):
        await fleet.roll_up.run()
        for (window, scope), requests in expected.items():
            assert await fleet.read(window, scope) == requests
        assert await fleet.by_day() == days


async def test_hours_are_read_in_place_of_minutes(fleet: Fleet) -> None:
    for _ in range(30 * 12):
        await fleet.count(0)
        fleet.clock.advance(7200)
    await fleet.roll_up.run()
    fleet.table.reset_counts()
    await fleet.read(Window.MONTH)
    assert fleet.table.reads <= 4


async def test_a_late_flush_is_summed_up_with_the_next_run(fleet: Fleet) -> None:
    await fleet.count(0)
    fleet.clock.advance(3600)
    await fleet.roll_up.run()
    await fleet.count(1, at=START + timedelta(minutes=5))
    fleet.clock.advance(3600)
    await fleet.roll_up.run()
    assert await fleet.read(Window.DAY) == 2


async def test_hours_missed_by_the_timer_are_caught_up_with(fleet: Fleet) -> None:
    await fleet.count(0)
    fleet.clock.advance(3600)
    await fleet.roll_up.run()
    await fleet.count(0)
    fleet.clock.advance(3 * 86_400)
    assert await fleet.read(Window.MONTH) == 2
    await fleet.roll_up.run()
    assert await fleet.read(Window.MONTH) == 2


async def test_a_process_sees_its_own_turns_at_once_and_never_twice(fleet: Fleet) -> None:
    meter, reader = fleet.meters[0], fleet.readers[0]
    for number in range(1, 4):
        meter.record(replace(TURN, created_at=fleet.clock()))
        for window in Window:
            _, sums = await reader.window(OWNER, View.SERIES, window)
            assert total(sums).requests == number
        fleet.table.lose_next_answer()
        await meter.flush()  # written, for all it knows not
        _, sums = await reader.window(OWNER, View.SERIES, Window.HOUR)
        assert total(sums).requests == number
    assert await fleet.read(Window.HOUR) == 3


async def test_sums_from_before_a_dimension_was_added_are_replaced_not_added_to(
    fleet: Fleet,
) -> None:
    """Rows of earlier versions have no client key and no face in their keys."""
    await fleet.count(0)
    rows = fleet.table.rows(f"{OWNER}!{fleet.clock().date()}")
    texts = {row.row_key.split("|")[1]: json.loads(row.values["key"]) for row in rows}
    assert {view: len(key) for view, key in texts.items()} == {"series": 4, "usage": 5}
    attribution = replace(TURN.attribution, key_id="key-1", face="mcp")
    fleet.meters[0].record(replace(TURN, created_at=fleet.clock(), attribution=attribution))
    await fleet.meters[0].flush()
    fleet.clock.advance(3600)
    for _ in range(2):
        await fleet.roll_up.run()
        reader = MetricsReader(fleet.table, Meter(fleet.table), fleet.clock)
        _, sums = await reader.window(OWNER, View.USAGE, Window.DAY)
        assert {key[-2:]: counts.requests for key, counts in sums.items()} == {
            ("", ""): 1,
            ("key-1", "mcp"): 1,
        }


async def test_old_minutes_go_and_days_stay(fleet: Fleet) -> None:
    await fleet.count(0)
    fleet.clock.advance(20 * 86_400)
    await fleet.count(0)
    day = fleet.clock().date()
    assert await fleet.roll_up.remove_before(day) == 0  # nothing is summed up yet
    await fleet.roll_up.run()
    fleet.clock.advance(3600)
    await fleet.roll_up.run()
    assert await fleet.roll_up.remove_before(day) > 0
    assert await fleet.roll_up.remove_before(day) == 0
    assert await fleet.read(Window.MONTH) == 2
    assert not fleet.table.rows(f"{OWNER}!2026-02-28")


async def test_the_app_removes_minutes_when_they_were_kept_long_enough(
    app: App, services: Services
) -> None:
    services.core.meter.record(replace(TURN, created_at=app.clock()))
    await services.core.meter.flush()
    app.clock.advance(16 * 86_400)
    await services.timers.roll_up.run()
    await services.timers.delete_old_records()
    _, sums = await services.web.api.metrics.reader.window(OWNER, View.SERIES, Window.MONTH)
    assert total(sums).requests == 1
    assert not app.metrics_table.rows(f"{OWNER}!2026-03-01")


class CountingTable(FakeTable):
    """A table that counts how many requests run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.peak = 0

    async def _reach(self) -> None:
        self.running += 1
        self.peak = max(self.peak, self.running)
        await asyncio.sleep(0)
        self.running -= 1


async def test_many_owners_are_summed_up_at_once() -> None:
    table, clock = CountingTable(), FakeClock(START)
    meter = Meter(table)
    for number in range(OWNERS):
        meter.record(replace(TURN, owner=f"owner-{number}", created_at=clock()))
    await meter.aclose()
    clock.advance(3_600)
    table.peak = 0
    await RollUp(table, clock).run()
    assert OWNERS_AT_ONCE <= table.peak <= OWNERS_AT_ONCE + 1
    for number in (0, OWNERS - 1):
        reader = MetricsReader(table, Meter(table), clock)
        _, sums = await reader.window(f"owner-{number}", View.SERIES, Window.DAY)
        assert total(sums).requests == 1
