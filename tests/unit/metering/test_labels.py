"""However many labels callers make up, metrics and usage stay small, and say what they left out."""

from __future__ import annotations

from datetime import timedelta

from shared.metering.counts import FLEET, MAX_FAILURE_CODES, TURN_VIEWS, Counts, Sums, View
from shared.metering.labels import (
    MAX_FLEET_KEYS,
    MAX_FLEET_VALUES,
    MAX_OWNER_KEYS,
    MAX_OWNER_VALUES,
    OTHER,
    DayLabels,
    bounded,
    bounded_in_order,
)
from shared.metering.prometheus import Fleet, exposition
from shared.metering.reading import Window
from shared.metering.rows import Batch, ScopeView
from shared.observability.readiness import Report
from shared.state.turns import Attribution, TurnMode, TurnRecord, TurnStatus
from tests.support.app_on_fakes import OWNER, App

MAX_TEXT_BYTES = 6_000_000
TURNS = 1_500


def _turn(app: App, name: str, owner: str = OWNER) -> TurnRecord:
    return TurnRecord(
        turn_id="turn",
        owner=owner,
        thread_id=None,
        job_id=None,
        mode=TurnMode.SYNC,
        status=TurnStatus.SUCCEEDED,
        created_at=app.clock(),
        latency=0.1,
        domain=f"domain-{name}",
        model=f"model-{name}",
        attribution=Attribution(f"department-{name}", f"user-{name}"),
    )


def _distinct(sums: Sums, view: View, name: str) -> int:
    return len({key[view.dimensions.index(name)] for key in sums} - {OTHER})


async def test_labels_of_one_caller_are_bounded_everywhere(app: App) -> None:
    services = app.services()
    for number in range(TURNS):
        services.core.meter.record(_turn(app, f"{number:04}"))
    await services.core.meter.flush()
    rows = sum(len(rows) for rows in app.metrics_table.partitions.values())
    assert rows < 2 * (sum(MAX_OWNER_KEYS.values()) + 10)

    other = app.services()  # another instance, which read nothing but the table
    for scope in (OWNER, FLEET):
        for view in TURN_VIEWS:
            _, sums = await other.web.api.metrics.reader.window(scope, view, Window.HOUR)
            assert sum(counts.requests for counts in sums.values()) == TURNS
            for name in set(view.dimensions) & set(MAX_OWNER_VALUES):
                assert _distinct(sums, view, name) <= MAX_OWNER_VALUES[name]
    since, series = await other.web.api.metrics.reader.written_today(FLEET, View.SERIES)
    _, usage = await other.web.api.metrics.reader.written_today(FLEET, View.USAGE)
    text, _ = exposition(Fleet(since, series, usage, {}, "EUR", Report({}, 0)))
    assert len(text) < MAX_TEXT_BYTES
    folded = TURNS - MAX_OWNER_VALUES["domain"] + TURNS - MAX_OWNER_VALUES["model"]
    assert f'aos_folded_label_values_total{{view="series"}} {float(folded)}' in text


async def test_labels_of_all_callers_together_are_bounded(app: App) -> None:
    services = app.services()
    for number in range(TURNS):
        services.core.meter.record(_turn(app, str(number % 50), f"owner-{number // 50}"))
        services.core.meter.record(_turn(app, str(number), f"owner-{number // 50}"))
    _, series = await services.web.api.metrics.reader.window(FLEET, View.SERIES, Window.HOUR)
    assert _distinct(series, View.SERIES, "domain") <= MAX_FLEET_VALUES["domain"]
    assert len(series) <= MAX_FLEET_KEYS[View.SERIES] + len(TurnMode)
    _, usage = await services.web.api.metrics.reader.window(FLEET, View.USAGE, Window.HOUR)
    assert _distinct(usage, View.USAGE, "owner") == TURNS // 50, "owners are never folded"


async def test_a_new_day_begins_with_no_labels(app: App) -> None:
    labels = DayLabels()
    for number in range(TURNS):
        labels.count(_turn(app, str(number)), {})
    app.clock.advance(timedelta(days=1).total_seconds())
    batch: Batch = {}
    labels.count(_turn(app, "new"), batch)
    counts = [counts for sums in batch.values() for counts in sums.values()]
    assert [each.folded_labels for each in counts] == [0, 0, 0, 0]


def _sums(numbers: range) -> Sums:
    return {(f"domain-{n:04}", "model", "", "sync"): Counts(requests=n + 1) for n in numbers}


def test_what_is_read_keeps_the_labels_with_most_turns() -> None:
    kept = bounded(ScopeView(OWNER, View.SERIES), _sums(range(1_000)))
    assert len(kept) == MAX_OWNER_VALUES["domain"] + 1
    assert ("domain-0999", "model", "", "sync") in kept
    assert sum(counts.requests for counts in kept.values()) == sum(range(1_001))


def test_what_prometheus_reads_only_grows() -> None:
    scope_view = ScopeView(OWNER, View.SERIES)
    before = bounded_in_order(scope_view, _sums(range(500, 1_000)))
    after = bounded_in_order(scope_view, _sums(range(1_000)))
    assert len(before) == len(after) == MAX_OWNER_VALUES["domain"] + 1
    rest = (OTHER, "model", "", "sync")
    assert after[rest].requests > before[rest].requests


def test_error_codes_are_bounded() -> None:
    one, all_ = Counts(), Counts()
    for number in range(10 * MAX_FAILURE_CODES):
        one.failures = {f"code-{number}": 1}
        all_.merge(one)
    assert len(all_.failures) == MAX_FAILURE_CODES + 1
    assert sum(all_.failures.values()) == 10 * MAX_FAILURE_CODES
