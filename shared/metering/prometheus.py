"""The fleet's figures as OpenMetrics text, for Prometheus.

Counters begin anew each day at midnight UTC, which Prometheus takes for the restart of a process
(`rate` and `increase` see to it). They are read from the table as all instances have written it,
so that it does not matter which instance a scrape meets.
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

from ..observability.readiness import ProbeStatus, Report
from .counts import BOUNDS, MICROS, Counts, Histogram, Sums, View

BILLION = 1_000_000_000

EVERY_BOUND = 4
"""A Prometheus bucket spans four of ours: a factor of two, from 0.1 ms to 14 min."""

SERIES_LABELS = View.SERIES.dimensions
WHOM_LABELS = ("department", "model")
"""Whom tokens were for. Owners are no labels: there may be as many as people; `/api/usage` has
them."""

COUNTERS = {
    "aos_turns": ("requests", "Turns that ended"),
    "aos_turns_succeeded": ("succeeded", "Turns that were answered"),
    "aos_retries": ("retries", "Requests to Foundry that were repeated"),
    "aos_reconciliations": ("reconciliations", "Looks at what a lost request had left"),
    "aos_rate_limit_waits": ("rate_limit_waits", "Waits because Foundry's quota was used up"),
    "aos_tool_calls": ("tool_calls", "Tools that were called"),
    "aos_turns_of_unknown_usage": ("unknown_usage", "Turns whose tokens nobody reported in full"),
    "aos_turns_of_unknown_cost": ("unknown_cost", "Turns that may have cost more than is known"),
}
"""By name: which figure, and what it is."""

TOKEN_KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
}
"""Cached tokens are among the input tokens."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What there is to tell."""

    since: datetime
    """When the sums begin."""
    series: Sums
    usage: Sums
    refusals: Sums
    currency: str
    report: Report


def exposition(fleet: Fleet) -> tuple[str, str]:
    """The text, and its media type."""
    registry = CollectorRegistry()
    registry.register(_Told(fleet))
    text = cast("bytes", generate_latest(registry))
    return text.decode(), CONTENT_TYPE_LATEST


class _Told:
    """Counts as prometheus-client collects them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._fleet)
        yield from _histograms(self._fleet.series)
        yield from _whom(self._fleet)
        yield from _dependencies(self._fleet.report)


def _counters(fleet: Fleet) -> Iterator[Metric]:
    created = fleet.since.timestamp()
    for name, (figure, text) in COUNTERS.items():
        family = CounterMetricFamily(name, f"{text}.", labels=SERIES_LABELS)
        for key, figures in fleet.series.items():
            family.add_metric(key, getattr(figures, figure), created=created)
        yield family
    failures = CounterMetricFamily(
        "aos_turn_failures", "Turns that failed, by code.", labels=[*SERIES_LABELS, "code"]
    )
    for key, figures in fleet.series.items():
        for code, count in sorted(figures.failures.items()):
            failures.add_metric([*key, code], count, created=created)
    yield failures
    yield _folded(fleet)
    refusals = CounterMetricFamily(
        "aos_owner_limit_refusals", "Requests that an owner's limits refused.", labels=["limit"]
    )
    for key, figures in fleet.refusals.items():
        refusals.add_metric(key, figures.requests, created=created)
    yield refusals


def _folded(fleet: Fleet) -> Metric:
    """How much of the labels cannot be seen."""
    family = CounterMetricFamily(
        "aos_folded_label_values",
        "Labels of turns that were counted as other.",
        labels=["view"],
    )
    for view, sums in ((View.SERIES, fleet.series), (View.USAGE, fleet.usage)):
        count = sum(figures.folded_labels for figures in sums.values())
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
    for key, figures in series.items():
        duration.add_metric(key, _buckets(figures.latency), figures.latency_micros / MICROS)
        overhead.add_metric(key, _buckets(figures.overhead), figures.overhead_micros / MICROS)
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


def _whom(fleet: Fleet) -> Iterator[Metric]:
    created = fleet.since.timestamp()
    sums = _by(fleet.usage, WHOM_LABELS)
    tokens = CounterMetricFamily("aos_tokens", "Tokens.", labels=[*WHOM_LABELS, "kind"])
    cost = CounterMetricFamily(
        "aos_cost", "Money, where it is known.", labels=[*WHOM_LABELS, "currency"]
    )
    for key, figures in sums.items():
        for kind, figure in TOKEN_KINDS.items():
            tokens.add_metric([*key, kind], getattr(figures, figure), created=created)
        cost.add_metric([*key, fleet.currency], figures.cost / BILLION, created=created)
    yield tokens
    yield cost


def _by(usage: Sums, labels: Sequence[str]) -> Sums:
    """Sums of the usage view, by some of its dimensions."""
    places = [View.USAGE.dimensions.index(label) for label in labels]
    sums: Sums = {}
    for key, figures in usage.items():
        sums.setdefault(tuple(key[place] for place in places), Counts()).merge(figures)
    return sums


def _dependencies(report: Report) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "aos_dependency_up", "1 where a dependency works.", labels=["dependency"]
    )
    took = GaugeMetricFamily(
        "aos_dependency_latency_seconds", "How long it took to say so.", labels=["dependency"]
    )
    for name, check in report.checks.items():
        up.add_metric([name], check.finding.health is not ProbeStatus.FAILED)
        took.add_metric([name], check.seconds)
    yield up
    yield took
    yield _by_queue(
        report, "aos_queue_oldest_seconds", "Age of a queue's first message.", "oldest_seconds"
    )
    yield _by_queue(report, "aos_poison_messages", "Messages that were given up.", "messages")


def _by_queue(report: Report, name: str, text: str, figure: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["queue"])
    for check in report.checks.values():
        for queue, value in check.finding.figures.get(figure, {}).items():
            family.add_metric([queue], value)
    return family
