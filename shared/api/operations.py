"""What operators ask: is it alive, how is it doing."""

from __future__ import annotations

from ..services import Services
from .border import Answer
from .incoming import Incoming


async def health(_: Services, __: Incoming) -> Answer:
    """Alive; says nothing about what stands behind."""
    return Answer({"status": "ok"})


async def metrics(services: Services, _: Incoming) -> Answer:
    """The figures of this process's Foundry client since it started, and of each model that
    `POST /orchestrate` can ask."""
    models = services.orchestration.snapshot()
    return Answer({**services.foundry.metrics.snapshot(), "models": models})
