"""Readiness of the app: all dependencies are checked in parallel, each with a timeout.

A report is cached for `KEPT_SECONDS`, so many requests cause few checks.
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
"""A dependency that takes longer has failed."""


class ProbeStatus(StrEnum):
    """The status of a dependency."""

    OK = "ok"
    WARNING = "warning"
    """It works, but needs an operator's attention."""
    FAILED = "failed"
    """Requests that need it fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found."""

    status: ProbeStatus = ProbeStatus.OK
    detail: str = ""
    """What is wrong and what to do, naming the setting or role."""
    measurements: Mapping[str, Any] = field(default_factory=dict[str, Any])


Probe = Callable[[], Awaitable[Finding]]
"""Checks a dependency; an exception means that it failed."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A service that the app needs."""

    probe: Probe
    setting: str
    """The setting that configures it, to check first if it does not answer."""
    explained: type[Exception] | tuple[()] = ()
    """Errors whose text is reported; the text of other errors is only logged."""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding and how long it took."""

    finding: Finding
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The check as callers see it."""
        document: dict[str, Any] = {
            "status": self.finding.status.value,
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
        """The failed checks: details by name."""
        found = {name: check.finding for name, check in self.checks.items()}
        return {n: f.detail for n, f in found.items() if f.status is ProbeStatus.FAILED}


class Readiness:
    """Runs the probes."""

    def __init__(
        self, dependencies: Mapping[str, Dependency], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._report: Report | None = None
        self._checking: asyncio.Task[Report] | None = None

    async def report(self) -> Report:
        """A report that is at most `KEPT_SECONDS` old."""
        if self._report is not None and self._clock() - self._report.at < KEPT_SECONDS:
            return self._report
        if self._checking is None:
            self._checking = asyncio.create_task(self._check_all())
            self._checking.add_done_callback(self._finished)
        return await asyncio.shield(self._checking)

    def _finished(self, task: asyncio.Task[Report]) -> None:
        self._checking = None
        if not task.cancelled() and task.exception() is None:
            self._report = task.result()

    async def _check_all(self) -> Report:
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
        except dependency.explained as error:
            finding = Finding(ProbeStatus.FAILED, str(error))
        except Exception:  # the other probes must still report
            log.exception("A readiness check failed unexpectedly")
            finding = Finding(ProbeStatus.FAILED, "The check itself failed; the log says why.")
        return Check(finding, perf_counter() - started)

    async def aclose(self) -> None:
        """Cancel the checks that run."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
