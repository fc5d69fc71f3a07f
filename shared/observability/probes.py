"""The readiness checks of the dependencies.

The calls to make are passed in. Each check lists the errors whose texts may be shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from .readiness import Dependency, Finding, ProbeStatus

LAG_SECONDS = 300.0
"""A message that waits longer needs an operator's attention."""

CLOSED = "closed"
"""The state of a breaker that lets requests through."""

STORAGE = "AzureWebJobsStorage"

Measure = Callable[[str], Awaitable[float]]
"""Measures one queue."""


def answers(
    call: Callable[[], Awaitable[object]],
    setting: str,
    explained: type[Exception],
    *,
    warning: str = "",
) -> Dependency:
    """Check that a call succeeds; report ``warning``, if given, when it does."""

    async def probe() -> Finding:
        await call()
        return Finding(ProbeStatus.WARNING, warning) if warning else Finding()

    return Dependency(probe, setting, explained)


def lag(oldest_seconds: Measure, queues: Sequence[str], explained: type[Exception]) -> Dependency:
    """Check how long the oldest message of each queue has waited."""

    async def probe() -> Finding:
        ages = await asyncio.gather(*map(oldest_seconds, queues))
        waits = {name: round(age, 1) for name, age in zip(queues, ages, strict=True)}
        slow = [name for name, age in waits.items() if age > LAG_SECONDS]
        measurements = {"oldest_seconds": waits}
        if not slow:
            return Finding(measurements=measurements)
        return Finding(
            ProbeStatus.WARNING,
            f"Messages wait longer than {LAG_SECONDS:g} s on {', '.join(slow)}: raise "
            "maximumInstanceCount or the model's capacity, and look for workers that fail.",
            measurements,
        )

    return Dependency(probe, STORAGE, explained)


def poison(count: Measure, queues: Sequence[str], explained: type[Exception]) -> Dependency:
    """Check that the poison queues are empty."""

    async def probe() -> Finding:
        messages = dict(zip(queues, await asyncio.gather(*map(count, queues)), strict=True))
        filled = [name for name, number in messages.items() if number]
        if not filled:
            return Finding(measurements={"messages": messages})
        return Finding(
            ProbeStatus.WARNING,
            f"Messages failed for good: read {', '.join(filled)}, fix the cause that they name "
            "and send them again.",
            {"messages": messages},
        )

    return Dependency(probe, STORAGE, explained)


def breakers(states: Callable[[], Mapping[str, str]]) -> Dependency:
    """Check that no model's circuit is open because it kept failing."""

    async def probe() -> Finding:
        found = dict(states())
        broken = [name for name, state in found.items() if state != CLOSED]
        if not broken:
            return Finding(measurements={"breakers": found})
        detail = f"{', '.join(broken)} kept failing and get no requests for now; see the log."
        return Finding(ProbeStatus.WARNING, detail, {"breakers": found})

    return Dependency(probe, "the models")
