"""`GET /metrics`: turns, failures, times and tokens of the caller; for admins, of all owners."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ..documents import Document, JsonObject
from ..http.answers import Answer
from ..http.principal import NOT_ADMIN
from ..http.query import Boolean, Query, comma_separated
from ..http.request import Incoming
from ..metering.counts import FLEET, MICROS, Counts, Histogram, Key, Sums, View, add_to
from ..metering.gauges import Gauges
from ..metering.meter import Meter
from ..metering.reading import MetricsReader, Window
from ..metering.rows import scope_key
from ..orchestration.routing import Router
from ..problems import ProblemError


class ScopeQuery(Query):
    """The parameter of metrics and usage that chooses whose they are."""

    all_owners: Boolean = False
    """The sums over every owner; for admins."""


class SeriesDimension(StrEnum):
    """The dimensions of `View.SERIES`."""

    DOMAIN = "domain"
    MODEL = "model"
    AGENT = "agent"
    MODE = "mode"
    FACE = "face"


class MetricsQuery(ScopeQuery):
    """The query of `GET /metrics`."""

    window: Window = Window.HOUR
    """The last hour, 24 hours or 30 days."""

    by: Annotated[list[SeriesDimension], comma_separated] = Field(default=[])
    """Dimensions to group by, separated by commas."""


class MetricCounts(Document):
    """Counts of turns; times in seconds."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    retries: int
    reconciliations: int
    rate_limit_waits: int
    input_tokens_used: int
    output_tokens_used: int
    cached_tokens_used: int
    total_tokens_used: int
    unknown_usage: int
    tool_calls: int
    failures: dict[str, int]
    """Failed turns by error code."""
    average_latency: float
    p50_latency: float
    p95_latency: float
    p99_latency: float
    average_overhead: float
    p50_overhead: float
    p95_overhead: float
    p99_overhead: float


class MetricGroup(MetricCounts):
    """The counts of one group, with the names it is grouped by."""

    domain: NotRequired[str]
    model: NotRequired[str]
    agent: NotRequired[str]
    mode: NotRequired[str]
    face: NotRequired[str]
    """What was called: `api`, `openai`, `mcp` or `queue`."""


class GaugesDocument(Document):
    """The current numbers of the owner's threads and jobs."""

    threads: int
    threads_active_hour: int
    threads_active_day: int
    threads_expiring: int
    jobs_waiting: int
    jobs_running: int
    complete: bool
    """False if there are more than were counted."""


_From = TypedDict("_From", {"from": str})


class MetricsDocument(_From, MetricCounts):
    """Metrics of a time window."""

    window: Window
    in_flight: int
    """Turns that run in the process that answers."""
    groups: list[MetricGroup]
    models: NotRequired[dict[str, JsonObject]]
    """The metrics and the breaker of each model in this process; for operators."""
    gauges: NotRequired[GaugesDocument]
    """Absent from the sums over every owner."""


@dataclass(frozen=True, slots=True)
class MetricsApi:
    """Handlers of `/metrics`."""

    reader: MetricsReader
    meter: Meter
    gauges: Gauges
    router: Router

    async def show(self, incoming: Incoming) -> Answer:
        """The metrics of a time window: the total, and groups by the dimensions in ``by``."""
        asked = incoming.parameters_as(MetricsQuery)
        scope, by = scope_of(incoming, asked), [dimension.value for dimension in asked.by]
        start, sums = await self.reader.window(scope, View.SERIES, asked.window)
        document: dict[str, Any] = {
            "window": asked.window.value,
            "from": start.isoformat(),
            **metrics_document(total(sums)),
            "in_flight": self.meter.in_flight(scope_key(scope)),
            "groups": [
                {**dict(zip(by, key, strict=True)), **metrics_document(counts)}
                for key, counts in sorted(grouped(sums, View.SERIES, by).items())
            ],
        }
        if incoming.principal.is_operator:
            document["models"] = self.router.snapshot()
        if scope != FLEET:
            document["gauges"] = asdict(await self.gauges.of(scope))
        return Answer(document)


def scope_of(incoming: Incoming, asked: ScopeQuery) -> str:
    """The scope of a request: its owner, or with ``all_owners`` the fleet.

    Raises:
        ProblemError: 403, if a caller who is not an admin asks for the fleet.
    """
    if not asked.all_owners:
        return incoming.owner
    if not incoming.principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    return FLEET


def grouped(sums: Sums, view: View, by: list[str]) -> Sums:
    """Group sums by the dimensions in ``by``; empty if ``by`` is."""
    places = [view.dimensions.index(name) for name in by]
    groups: Sums = {}
    for key, counts in sums.items() if by else ():
        part: Key = tuple(key[place] for place in places)
        add_to(groups, part, counts)
    return groups


def total(sums: Sums) -> Counts:
    """The sum over all keys."""
    counts = Counts()
    for each in sums.values():
        counts.merge(each)
    return counts


def metrics_document(counts: Counts) -> dict[str, Any]:
    """Counts under the names of the public metrics; times in seconds."""
    shown = {each.metrics: getattr(counts, each.name) for each in counts.counters() if each.metrics}
    return {
        **shown,
        "failures": counts.failures,
        **times("latency", counts.latency, counts.latency_micros),
        **times("overhead", counts.overhead, counts.overhead_micros),
    }


def times(name: str, histogram: Histogram, micros: int) -> dict[str, float]:
    """The average and the percentiles of a duration."""
    average = micros / MICROS / histogram.total if histogram.total else 0.0
    percentiles = {f"p{n}_{name}": histogram.percentile(n / 100) for n in (50, 95, 99)}
    return {f"average_{name}": average, **percentiles}
