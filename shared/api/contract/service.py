"""Declarations of the routes about the service itself."""

from __future__ import annotations

from ...http.operation import Operation, Tag, ok
from ...problems import ProblemKind
from ..operations import HealthDocument, ReadinessDocument

HEALTH = Operation(
    id="getHealth",
    tag=Tag.SERVICE,
    summary="Check that the app is alive",
    description="Needs no key, and checks no dependency.",
    results=ok("The app is alive.", HealthDocument),
)

READINESS = Operation(
    id="getReadiness",
    tag=Tag.SERVICE,
    summary="Check every dependency",
    description="Users see statuses only; operators also see latencies and what to fix.",
    results=ok("Every dependency works.", ReadinessDocument),
    problems=(ProblemKind.NOT_READY,),
)

PROMETHEUS = Operation(
    id="getPrometheusMetrics",
    tag=Tag.SERVICE,
    summary="Read the metrics of all owners for Prometheus",
    description="For callers with a function key, and admins.",
    results=ok("OpenMetrics text.", also={"application/openmetrics-text": str}),
)
