"""What the app depends on, and how each of it is asked whether it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from .config import AGENT_IS_LABEL, POISON_SUFFIX
from .foundry.errors import FoundryError
from .foundry.service import FoundryService
from .jobs.queue import Queues
from .observability.readiness import Dependency, Finding, ProbeError, ProbeStatus
from .state.errors import StateError
from .state.table import Table

LAG_SECONDS = 300.0
"""A message that waits longer is somebody's concern."""

CLOSED = "closed"
"""The state of a breaker that lets requests through."""

_NO_ROW = ("$ready", "probe")
"""Partition and key of a row that is not there: reading it costs next to nothing."""


def foundry(service: FoundryService) -> Dependency:
    """Whether Foundry answers for the agent or model in use; costs no tokens."""

    async def probe() -> Finding:
        try:
            await service.check()
        except FoundryError as error:
            raise ProbeError(error.message) from error
        if service.config.agent_is_label:
            return Finding(ProbeStatus.WARNING, AGENT_IS_LABEL)
        return Finding()

    return Dependency(probe, "FOUNDRY_AGENT_SERVICE_ENDPOINT")


def credential(service: FoundryService) -> Dependency:
    """Whether there is a key or token to show to Foundry."""

    async def probe() -> Finding:
        try:
            await service.authenticate()
        except FoundryError as error:
            raise ProbeError(error.message) from error
        return Finding()

    return Dependency(probe, "AZURE_CLIENT_ID")


def table(state: Table) -> Dependency:
    """Whether Table Storage lets the app read."""

    async def probe() -> Finding:
        try:
            await state.get(*_NO_ROW)
        except StateError as error:
            raise ProbeError(str(error)) from error
        return Finding()

    return Dependency(probe, "AzureWebJobsStorage")


def lag(queues: Queues, names: Sequence[str]) -> Dependency:
    """How long the oldest message of each queue has waited."""

    async def probe() -> Finding:
        try:
            ages = await asyncio.gather(*map(queues.oldest_seconds, names))
        except StateError as error:
            raise ProbeError(str(error)) from error
        waits = {name: round(age, 1) for name, age in zip(names, ages, strict=True)}
        slow = [name for name, age in waits.items() if age > LAG_SECONDS]
        if not slow:
            return Finding(measurements={"oldest_seconds": waits})
        return Finding(
            ProbeStatus.WARNING,
            f"Messages wait longer than {LAG_SECONDS:g} s on {', '.join(slow)}: raise "
            "maximumInstanceCount or the model's capacity, and look for workers that fail.",
            {"oldest_seconds": waits},
        )

    return Dependency(probe, "AzureWebJobsStorage")


def poison(queues: Queues, names: Sequence[str]) -> Dependency:
    """How many messages of each queue were given up."""

    async def probe() -> Finding:
        twins = [name + POISON_SUFFIX for name in names]
        try:
            counts = await asyncio.gather(*map(queues.count, twins))
        except StateError as error:
            raise ProbeError(str(error)) from error
        messages = dict(zip(twins, counts, strict=True))
        if not any(counts):
            return Finding(measurements={"messages": messages})
        where = ", ".join(name for name, count in messages.items() if count)
        return Finding(
            ProbeStatus.WARNING,
            f"Messages were given up: read {where}, mend what they say and put them again.",
            {"messages": messages},
        )

    return Dependency(probe, "AzureWebJobsStorage")


def breakers(states: Callable[[], Mapping[str, str]]) -> Dependency:
    """Which backends are not asked at present because they kept failing."""

    async def probe() -> Finding:
        found = dict(states())
        broken = [name for name, state in found.items() if state != CLOSED]
        if not broken:
            return Finding(measurements={"breakers": found})
        detail = f"Requests are kept from {', '.join(broken)}, which kept failing; see the log."
        return Finding(ProbeStatus.WARNING, detail, {"breakers": found})

    return Dependency(probe, "the backends")
