"""Liveness, readiness and the metrics for Prometheus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal, NotRequired

from ..config.spending import PriceTable
from ..documents import Document
from ..http.answers import Answer
from ..http.principal import NOT_ADMIN
from ..http.request import Incoming
from ..metering.counts import FLEET, View
from ..metering.reading import MetricsReader
from ..observability.readiness import ProbeStatus, Readiness
from ..problems import Problem, ProblemDocument, ProblemError, ProblemKind


class HealthDocument(Document):
    """The app is alive."""

    status: Literal["ok"]


class CheckDocument(Document):
    """The check of a dependency; users see its status only."""

    status: ProbeStatus
    latency_ms: NotRequired[float]
    detail: NotRequired[str]
    """What is wrong and what to do."""
    oldest_seconds: NotRequired[dict[str, float]]
    """How long the oldest message of each queue has waited."""
    messages: NotRequired[dict[str, int]]
    """Messages in each poison queue."""
    breakers: NotRequired[dict[str, str]]
    """The circuit of each model."""


class ReadinessDocument(Document):
    """Whether each dependency works."""

    ready: bool
    checks: dict[str, CheckDocument]


class NotReadyDocument(ProblemDocument):
    """A problem with the dependencies that do not work."""

    ready: NotRequired[bool]
    checks: NotRequired[dict[str, CheckDocument]]


@dataclass(frozen=True, slots=True)
class OperationsApi:
    """Handlers of `/health` and `/metrics/prometheus`."""

    readiness: Readiness
    reader: MetricsReader
    prices: PriceTable

    async def health(self, _: Incoming) -> Answer:
        """Liveness; checks no dependencies."""
        return Answer({"status": "ok"})

    async def ready(self, incoming: Incoming) -> Answer:
        """Whether each dependency works, its latency, and how to fix it.

        Only operators see details, which name queues, settings and models; users see statuses.
        """
        report = await self.readiness.report()
        checks = {name: check.to_json() for name, check in report.checks.items()}
        detail = " ".join(f"{name}: {text}" for name, text in report.failures.items())
        if not incoming.principal.is_operator:
            checks = {name: {"status": check["status"]} for name, check in checks.items()}
            detail = f"These dependencies do not work: {', '.join(report.failures)}."
        if not report.failures:
            return Answer({"ready": True, "checks": checks})
        problem = Problem(ProblemKind.NOT_READY, detail)
        document = problem.to_json(incoming.request_id) | {"ready": False, "checks": checks}
        return Answer(document, problem.status)

    async def prometheus(self, incoming: Incoming) -> Answer:
        """The fleet's metrics for Prometheus, which needs a function key or the admin role.

        Raises:
            ProblemError: 403 for a user, who may read only their own metrics.
        """
        from ..metering.prometheus import Fleet, exposition

        if not incoming.principal.is_operator:
            raise ProblemError(NOT_ADMIN)
        (since, series), (_, usage), (_, refusals), report = await asyncio.gather(
            self.reader.written_today(FLEET, View.SERIES),
            self.reader.written_today(FLEET, View.USAGE),
            self.reader.written_today(FLEET, View.REFUSALS),
            self.readiness.report(),
        )
        fleet = Fleet(since, series, usage, refusals, self.prices.currency, report)
        text, media_type = exposition(fleet)
        return Answer(None, content=text, media_type=media_type)
