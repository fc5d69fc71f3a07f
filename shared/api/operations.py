"""What operators ask: is it alive."""

from __future__ import annotations

from http import HTTPStatus

from ..problems import Problem
from ..services import Services
from .border import Answer
from .incoming import Incoming

NOT_READY = "not_ready"


async def health(_: Services, __: Incoming) -> Answer:
    """Alive; says nothing about what stands behind."""
    return Answer({"status": "ok"})


async def ready(services: Services, incoming: Incoming) -> Answer:
    """Whether everything behind the app works: each dependency, its latency, and what to mend."""
    report = await services.readiness.report()
    checks = {name: check.to_json() for name, check in report.checks.items()}
    if not report.failures:
        return Answer({"ready": True, "checks": checks})
    detail = " ".join(f"{name}: {text}" for name, text in report.failures.items())
    problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, NOT_READY, detail)
    document = problem.to_json(incoming.request_id) | {"ready": False, "checks": checks}
    return Answer(document, problem.status)
