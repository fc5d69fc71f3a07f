"""The fleet's metrics as OpenMetrics text, for Prometheus.

Counters restart at midnight UTC, which `rate` and `increase` handle like the restart of a process.
They are read from the table, to which all instances write, so any instance can answer a scrape.
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import (
    CONTENT_TYPE_LATEST,
    generate_latest,  # pyright: ignore[reportUnknownVariableType] - the library has no types here
)

from ..config.spending import NANOS
from ..observability.readiness import ProbeStatus, Report
from ..state.counters import Counter, Unit
from .counts import BOUNDS, MICROS, Counts, Histogram, Sums, View, add_to

EVERY_BOUND = 4
"""Every fourth of `BOUNDS` is a Prometheus bucket: they double, from 0.1 ms to 14 min."""

SERIES_LABELS = View.SERIES.dimensions
USAGE_LABELS = ("department", "model")
"""Owners are not labels, because there may be too many; `/api/usage` reports them."""
_OF_USAGE = {Unit.TOKENS, Unit.MONEY}
"""Units of counters that are shown by `USAGE_LABELS`; the others by `SERIES_LABELS`."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The data of one scrape."""

    since: datetime
    """The start of the period that the sums cover."""
    series: Sums
    usage: Sums
    refusals: Sums
    currency: str
    report: Report


def exposition(fleet: Fleet) -> tuple[str, str]:
    """The text, and its media type."""
    registry = CollectorRegistry()
    registry.register(_Collector(fleet))
    text = cast("bytes", generate_latest(registry))
    return text.decode(), CONTENT_TYPE_LATEST


class _Collector:
    """Collects the fleet's metrics for prometheus-client."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._fleet)
        yield from _histograms(self._fleet.series)
        yield from _usage(self._fleet)
        yield from _dependencies(self._fleet.report)


def _counters(fleet: Fleet) -> Iterator[Metric]:
    created = fleet.since.timestamp()
    for each in _shown(set(Unit) - _OF_USAGE):
        family = CounterMetricFamily(each.prometheus, f"{each.meaning}.", labels=SERIES_LABELS)
        for key, counts in fleet.series.items():
            family.add_metric(key, getattr(counts, each.name), created=created)
        yield family
    failures = CounterMetricFamily(
        "aos_turn_failures", "Turns that failed, by code.", labels=[*SERIES_LABELS, "code"]
    )
    for key, counts in fleet.series.items():
        for code, count in sorted(counts.failures.items()):
            failures.add_metric([*key, code], count, created=created)
    yield failures
    yield _folded(fleet)
    refusals = CounterMetricFamily(
        "aos_owner_limit_refusals", "Requests that an owner's limits refused.", labels=["limit"]
    )
    for key, counts in fleet.refusals.items():
        refusals.add_metric(key, counts.requests, created=created)
    yield refusals


def _folded(fleet: Fleet) -> Metric:
    """How many labels were counted as other."""
    family = CounterMetricFamily(
        "aos_folded_label_values",
        "Labels of turns that were counted as other.",
        labels=["view"],
    )
    for view, sums in ((View.SERIES, fleet.series), (View.USAGE, fleet.usage)):
        count = sum(counts.folded_labels for counts in sums.values())
        family.add_metric([view.value], count, created=fleet.since.timestamp())
    return family


def _histograms(series: Sums) -> Iterator[Metric]:
    duration = HistogramMetricFamily(
        "aos_turn_duration_seconds",
        "From a turn's first request to Foundry to its end.",
        labels=SERIES_LABELS,
        unit="seconds",
    )
    overhead = HistogramMetricFamily(
        "aos_turn_overhead_seconds",
        "What the app itself took for a turn.",
        labels=SERIES_LABELS,
        unit="seconds",
    )
    for key, counts in series.items():
        duration.add_metric(key, _buckets(counts.latency), counts.latency_micros / MICROS)
        overhead.add_metric(key, _buckets(counts.overhead), counts.overhead_micros / MICROS)
    yield duration
    yield overhead


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound."""
    total, buckets = 0, list[tuple[str, float]]()
    for index, bound in enumerate(BOUNDS):
        total += histogram.counts.get(index, 0)
        if index % EVERY_BOUND == 0:
            buckets.append((repr(bound), total))
    return [*buckets, ("+Inf", sum(histogram.counts.values()))]


def _usage(fleet: Fleet) -> Iterator[Metric]:
    """Tokens by kind, and money, by department and model."""
    created, sums = fleet.since.timestamp(), _by(fleet.usage, USAGE_LABELS)
    families: dict[str, CounterMetricFamily] = {}
    for each in _shown(_OF_USAGE):
        is_money = each.unit is Unit.MONEY
        label, value = ("currency", fleet.currency) if is_money else ("kind", each.kind)
        text = f"{each.unit.capitalize() if each.kind else each.meaning}."
        family = families.setdefault(
            each.prometheus,
            CounterMetricFamily(each.prometheus, text, labels=[*USAGE_LABELS, label]),
        )
        for key, counts in sums.items():
            amount = getattr(counts, each.name)
            family.add_metric([*key, value], amount / NANOS if is_money else amount, created)
    yield from families.values()


def _shown(units: Collection[Unit]) -> Iterator[Counter]:
    """The counters with one of some units that are Prometheus metrics."""
    return (each for each in Counts.counters() if each.prometheus and each.unit in units)


def _by(usage: Sums, labels: Sequence[str]) -> Sums:
    """Sums of the usage view, by some of its dimensions."""
    places = [View.USAGE.dimensions.index(label) for label in labels]
    sums: Sums = {}
    for key, counts in usage.items():
        add_to(sums, tuple(key[place] for place in places), counts)
    return sums


def _dependencies(report: Report) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "aos_dependency_up", "1 where a dependency works.", labels=["dependency"]
    )
    took = GaugeMetricFamily(
        "aos_dependency_latency_seconds", "Time that its check took.", labels=["dependency"]
    )
    for name, check in report.checks.items():
        up.add_metric([name], check.finding.status is not ProbeStatus.FAILED)
        took.add_metric([name], check.seconds)
    yield up
    yield took
    yield _by_queue(
        report, "aos_queue_oldest_seconds", "Age of a queue's first message.", "oldest_seconds"
    )
    yield _by_queue(report, "aos_poison_messages", "Messages on the poison queue.", "messages")


def _by_queue(report: Report, name: str, text: str, measurement: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["queue"])
    for check in report.checks.values():
        for queue, value in check.finding.measurements.get(measurement, {}).items():
            family.add_metric([queue], value)
    return family
