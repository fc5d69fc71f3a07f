"""`GET /metrics`: turns, failures, times and tokens of the caller; for admins, of all owners."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..http.answers import Answer
from ..http.principal import NOT_ADMIN
from ..http.request import Incoming, invalid_field, query
from ..metering.counts import FLEET, MICROS, Counts, Histogram, Key, Sums, View, add_to
from ..metering.gauges import Gauges
from ..metering.meter import Meter
from ..metering.reading import MetricsReader, Window
from ..metering.rows import scope_key
from ..orchestration.routing import Router
from ..problems import ProblemError


@dataclass(frozen=True, slots=True)
class MetricsApi:
    """Handlers of `/metrics`."""

    reader: MetricsReader
    meter: Meter
    gauges: Gauges
    router: Router

    @query("window", "by", "all_owners")
    async def show(self, incoming: Incoming) -> Answer:
        """The metrics of a time window: the total, and groups by the dimensions in ``by``."""
        scope = scope_of(incoming)
        text = incoming.query.get("window", Window.HOUR.value)
        if text not in {window.value for window in Window}:
            raise invalid_field("window", f"must be one of {', '.join(Window)}")
        by = chosen(incoming, View.SERIES.dimensions)
        start, sums = await self.reader.window(scope, View.SERIES, Window(text))
        document: dict[str, Any] = {
            "window": text,
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


def scope_of(incoming: Incoming) -> str:
    """The scope of a request: its owner, or with ``all_owners`` the fleet.

    Raises:
        ProblemError: 403, if a caller who is not an admin asks for the fleet.
    """
    if incoming.query.get("all_owners") != "true":
        return incoming.owner
    if not incoming.principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    return FLEET


def chosen(incoming: Incoming, allowed: tuple[str, ...], default: str = "") -> list[str]:
    """The dimensions in ``by``, separated by commas.

    Raises:
        ProblemError: 422, if one is not allowed or named twice.
    """
    text = incoming.query.get("by", default)
    names = [name.strip() for name in text.split(",")] if text else []
    if set(names) - set(allowed) or len(set(names)) < len(names):
        raise invalid_field("by", f"must be some of {', '.join(allowed)}, separated by commas")
    return names


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
        **_times("latency", counts.latency, counts.latency_micros),
        **_times("overhead", counts.overhead, counts.overhead_micros),
    }


def _times(name: str, histogram: Histogram, micros: int) -> dict[str, float]:
    """The average and the percentiles of a duration."""
    average = micros / MICROS / histogram.total if histogram.total else 0.0
    percentiles = {f"p{n}_{name}": histogram.percentile(n / 100) for n in (50, 95, 99)}
    return {f"average_{name}": average, **percentiles}
