"""`GET /metrics`: how the service does, for the caller, and for admins for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..app import Services
from ..http.principal import NOT_ADMIN
from ..http.queries import query
from ..http.request import Incoming, invalid_field
from ..http.serve import Answer
from ..metering.counts import FLEET, MICROS, Counts, Histogram, Key, Sums, View, add_to
from ..metering.reading import Window
from ..metering.rows import scope_key
from ..problems import ProblemError


@query("window", "by", "all_owners")
async def show(services: Services, incoming: Incoming) -> Answer:
    """The figures of a window, in all and by what ``by`` names."""
    scope = scope_of(incoming)
    text = incoming.query.get("window", Window.HOUR.value)
    if text not in {window.value for window in Window}:
        raise invalid_field("window", f"must be one of {', '.join(Window)}")
    by = chosen(incoming, View.SERIES.dimensions)
    start, sums = await services.figures.window(scope, View.SERIES, Window(text))
    document: dict[str, Any] = {
        "window": text,
        "from": start.isoformat(),
        **figures_document(total(sums)),
        "in_flight": services.meter.in_flight(scope_key(scope)),
        "groups": [
            {**dict(zip(by, key, strict=True)), **figures_document(figures)}
            for key, figures in sorted(grouped(sums, View.SERIES, by).items())
        ],
    }
    if incoming.principal.is_operator:
        document["models"] = services.orchestration.snapshot()
    if scope != FLEET:
        document["gauges"] = asdict(await services.gauges.of(scope))
    return Answer(document)


def scope_of(incoming: Incoming) -> str:
    """Whose figures a request is about: the caller's, or with ``all_owners`` the fleet's.

    Raises:
        ProblemError: 403, if somebody else than an admin asks for the fleet's.
    """
    if incoming.query.get("all_owners") != "true":
        return incoming.owner
    if not incoming.principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    return FLEET


def chosen(incoming: Incoming, allowed: tuple[str, ...], default: str = "") -> list[str]:
    """The dimensions that ``by`` names, with commas between.

    Raises:
        ProblemError: 422, if one is not allowed or named twice.
    """
    text = incoming.query.get("by", default)
    names = [name.strip() for name in text.split(",")] if text else []
    if set(names) - set(allowed) or len(set(names)) < len(names):
        raise invalid_field("by", f"must be some of {', '.join(allowed)}, with commas between")
    return names


def grouped(sums: Sums, view: View, by: list[str]) -> Sums:
    """Sums by some of their dimensions; none without any."""
    places = [view.dimensions.index(name) for name in by]
    groups: Sums = {}
    for key, figures in sums.items() if by else ():
        part: Key = tuple(key[place] for place in places)
        add_to(groups, part, figures)
    return groups


def total(sums: Sums) -> Counts:
    """All sums together."""
    figures = Counts()
    for each in sums.values():
        figures.merge(each)
    return figures


def figures_document(figures: Counts) -> Mapping[str, Any]:
    """Counts under the names that the client's own have; seconds and tokens."""
    requests = figures.requests
    return {
        "total_requests": requests,
        "successful_requests": figures.succeeded,
        "failed_requests": figures.failed,
        "failures": figures.failures,
        "average_latency": figures.latency_micros / MICROS / requests if requests else 0.0,
        **_percentiles(figures.latency, "latency"),
        "average_overhead": figures.overhead_micros / MICROS / requests if requests else 0.0,
        **_percentiles(figures.overhead, "overhead"),
        "total_tokens_used": figures.total_tokens,
        "input_tokens_used": figures.input_tokens,
        "output_tokens_used": figures.output_tokens,
        "cached_tokens_used": figures.cached_tokens,
        "unknown_usage": figures.unknown_usage,
        "retries": figures.retries,
        "reconciliations": figures.reconciliations,
        "rate_limit_waits": figures.rate_limit_waits,
        "tool_calls": figures.tool_calls,
    }


def _percentiles(histogram: Histogram, name: str) -> dict[str, float]:
    return {f"p{n}_{name}": histogram.percentile(n / 100) for n in (50, 95, 99)}
