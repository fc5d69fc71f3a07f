"""Whether the app can do its work: its dependencies, each asked for a moment, all at once.

What was found is kept for some seconds, so that however many ask, dependencies are asked rarely.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic, perf_counter
from typing import Any

log = logging.getLogger(__name__)

KEPT_SECONDS = 10.0
PROBE_SECONDS = 5.0
"""A dependency that takes longer holds up whoever waits for its answer."""


class ProbeStatus(StrEnum):
    """How a dependency is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look."""
    FAILED = "failed"
    """Requests that need it fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found."""

    health: ProbeStatus = ProbeStatus.OK
    detail: str = ""
    """What is wrong and what to do, naming the setting or role."""
    measurements: Mapping[str, Any] = field(default_factory=dict[str, Any])


Probe = Callable[[], Awaitable[Finding]]
"""Asks a dependency; an exception means that it failed, and its text says what to do."""


class ProbeError(Exception):
    """A dependency does not work; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that the app needs."""

    probe: Probe
    setting: str
    """What leads to it: the first thing to check where it says nothing at all."""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding and how long it took."""

    finding: Finding
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As callers see it."""
        document: dict[str, Any] = {
            "status": self.finding.health.value,
            "latency_ms": round(self.seconds * 1000, 1),
        }
        if self.finding.detail:
            document["detail"] = self.finding.detail
        return document | dict(self.finding.measurements)


@dataclass(frozen=True, slots=True)
class Report:
    """What all probes found."""

    checks: Mapping[str, Check]
    at: float
    """When, by `monotonic`."""

    @property
    def failures(self) -> dict[str, str]:
        """What keeps the app from its work: details by name."""
        found = {name: check.finding for name, check in self.checks.items()}
        return {n: f.detail for n, f in found.items() if f.health is ProbeStatus.FAILED}


class Readiness:
    """Runs the probes."""

    def __init__(
        self, dependencies: Mapping[str, Dependency], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._report: Report | None = None
        self._asking: asyncio.Task[Report] | None = None

    async def report(self) -> Report:
        """What was found at most `KEPT_SECONDS` ago."""
        if self._report is not None and self._clock() - self._report.at < KEPT_SECONDS:
            return self._report
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._answered)
        return await asyncio.shield(self._asking)

    def _answered(self, task: asyncio.Task[Report]) -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is None:
            self._report = task.result()

    async def _ask(self) -> Report:
        checks = await asyncio.gather(*map(self._check, self._dependencies.values()))
        return Report(dict(zip(self._dependencies, checks, strict=True)), self._clock())

    async def _check(self, dependency: Dependency) -> Check:
        started = perf_counter()
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                finding = await dependency.probe()
        except TimeoutError:
            finding = Finding(
                ProbeStatus.FAILED,
                f"No answer within {PROBE_SECONDS:g} s. Check {dependency.setting}, the network "
                "rules between this app and the service, and the service's own health.",
            )
        except ProbeError as error:
            finding = Finding(ProbeStatus.FAILED, str(error))
        except Exception:  # the border of a probe: the others have something to say, too
            log.exception("A probe failed for a reason nobody foresaw")
            finding = Finding(ProbeStatus.FAILED, "The check itself failed; the log says why.")
        return Check(finding, perf_counter() - started)

    async def aclose(self) -> None:
        """Give up what is being asked."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
