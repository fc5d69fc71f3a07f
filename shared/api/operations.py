"""Liveness, readiness, and the metrics for Prometheus."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from ..app import Services
from ..http.principal import NOT_ADMIN
from ..http.request import Incoming
from ..http.serve import Answer
from ..metering.counts import FLEET, View
from ..problems import Problem, ProblemError

NOT_READY = "not_ready"


async def health(_: Services, __: Incoming) -> Answer:
    """Liveness; says nothing about dependencies."""
    return Answer({"status": "ok"})


async def ready(services: Services, incoming: Incoming) -> Answer:
    """Whether each dependency works, its latency, and what to fix.

    Users see statuses only: details and measurements name queues, settings and models.
    """
    report = await services.readiness.report()
    checks = {name: check.to_json() for name, check in report.checks.items()}
    detail = " ".join(f"{name}: {text}" for name, text in report.failures.items())
    if not incoming.principal.is_operator:
        checks = {name: {"status": check["status"]} for name, check in checks.items()}
        detail = f"These do not work: {', '.join(report.failures)}."
    if not report.failures:
        return Answer({"ready": True, "checks": checks})
    problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, NOT_READY, detail)
    document = problem.to_json(incoming.request_id) | {"ready": False, "checks": checks}
    return Answer(document, problem.status)


async def prometheus(services: Services, incoming: Incoming) -> Answer:
    """The fleet's metrics for Prometheus, which calls with a function key or as an admin.

    Raises:
        ProblemError: 403 for a user, who may read their own metrics only.
    """
    from ..metering.prometheus import Fleet, exposition

    if not incoming.principal.is_operator:
        raise ProblemError(NOT_ADMIN)
    (since, series), (_, usage), (_, refusals), report = await asyncio.gather(
        services.metrics_reader.written_today(FLEET, View.SERIES),
        services.metrics_reader.written_today(FLEET, View.USAGE),
        services.metrics_reader.written_today(FLEET, View.REFUSALS),
        services.readiness.report(),
    )
    fleet = Fleet(since, series, usage, refusals, services.prices.currency, report)
    text, media_type = exposition(fleet)
    return Answer(None, text=text, media_type=media_type)
