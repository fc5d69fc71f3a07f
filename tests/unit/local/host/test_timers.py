"""Schedules of timer triggers."""

from datetime import UTC, datetime

import pytest

from local.host.settings import HostConfigurationError
from local.host.timers import parse_schedule

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("*/5 * * * * *", "2026-01-01T12:00:05+00:00"),
        ("0 */15 * * * *", "2026-01-01T12:15:00+00:00"),
        ("30 0 9 * * 1-5", "2026-01-02T09:00:30+00:00"),
        ("0 0 0 * * Sun", "2026-01-04T00:00:00+00:00"),
        ("0 0 0 1 Feb *", "2026-02-01T00:00:00+00:00"),
        ("*/10 * * * *", "2026-01-01T12:10:00+00:00"),
        ("00:00:20", "2026-01-01T12:00:20+00:00"),
        ("%EVERY%", "2026-01-01T13:00:00+00:00"),
    ],
)
def test_the_next_due_time(schedule: str, due: str) -> None:
    parsed = parse_schedule(schedule, {"EVERY": "0 0 * * * *"})
    assert parsed.next_after(NOON).isoformat() == due


@pytest.mark.parametrize("schedule", ["nonsense", "0 0 25 * * *", "00:00:00", "%MISSING%"])
def test_a_wrong_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(HostConfigurationError):
        parse_schedule(schedule, {})
