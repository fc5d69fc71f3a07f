"""The clock that all instances share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from shared.state.clock import RESOLUTION, StorageClock, utc_now
from tests.support.fakes import FakeClock


def test_until_the_service_was_heard_it_is_this_machines() -> None:
    local = FakeClock()
    clock = StorageClock(local)
    clock.observe(None)
    assert clock() == local.now - RESOLUTION


@pytest.mark.parametrize("minutes", [-7, 0, 7])
def test_it_follows_the_service_however_wrong_this_machine_is(minutes: float) -> None:
    local = FakeClock()
    clock = StorageClock(local)
    theirs = local.now + timedelta(minutes=minutes)
    clock.observe(format_datetime(theirs, usegmt=True))
    assert clock() == theirs
    local.advance(90)
    assert clock() == theirs + timedelta(seconds=90)


TICK = timedelta(microseconds=1)


def test_an_observation_sets_it_back_by_no_part_of_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.state.clock.OBSERVE_EVERY_SECONDS", 0.0)
    local = FakeClock()
    clock = StorageClock(local)
    clock.observe(format_datetime(local.now, usegmt=True))
    local.advance(0.7)
    first = clock()
    clock.observe(format_datetime(local.now.replace(microsecond=0), usegmt=True))
    assert clock() == first + TICK
    local.advance(0.5)
    assert clock() == first + 2 * TICK
    local.advance(0.5)
    assert clock() == first + timedelta(seconds=0.3)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("ahead", [-0.5, 0.0, 0.5])
def test_the_first_observation_sets_it_back_by_no_part_of_a_second(
    fraction: float, ahead: float
) -> None:
    service = FakeClock()
    service.advance(fraction)
    clock = StorageClock(lambda: service.now + timedelta(seconds=ahead))
    before = clock()
    clock.observe(format_datetime(service.now, usegmt=True))
    assert before <= clock() <= service.now


def test_a_machine_that_is_ahead_is_set_back() -> None:
    local = FakeClock()
    clock = StorageClock(local)
    clock()
    service = local.now - timedelta(seconds=5)
    clock.observe(format_datetime(service, usegmt=True))
    assert clock() == service


def test_two_machines_agree() -> None:
    early, late = FakeClock(), FakeClock()
    late.advance(300)
    clocks = [StorageClock(early), StorageClock(late)]
    for clock in clocks:
        clock.observe("Sun, 01 Mar 2026 12:01:00 GMT")
    assert clocks[0]() == clocks[1]() == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)


def test_it_does_not_look_at_every_answer() -> None:
    local = FakeClock()
    clock = StorageClock(local)
    clock.observe(format_datetime(local.now + timedelta(seconds=1), usegmt=True))
    first = clock()
    clock.observe(format_datetime(local.now + timedelta(seconds=50), usegmt=True))
    assert clock() == first


@pytest.mark.parametrize(
    "header",
    ["", "soon", "5", "Sun, 01 Mar 2026 12:00:00 GMT, Sun, 01 Mar 2026 12:00:00 GMT"],
)
def test_what_cannot_be_read_does_not_break_the_answer_it_came_with(header: str) -> None:
    clock = StorageClock(FakeClock())
    clock.observe(header)
    assert clock().tzinfo is not None


def test_the_machines_own_time_has_a_zone() -> None:
    assert utc_now().tzinfo is UTC
