"""Circuit breakers: a model that keeps failing gets no requests until a cool-down is over.

closed --5 failures in a row--> open --cool-down, first request--> half-open
half-open --that request succeeds--> closed
half-open --it fails--> open
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from types import TracebackType
from typing import Self

from ..foundry.errors import FoundryError, TimeoutError

log = logging.getLogger(__name__)

FAILURES_TO_OPEN = 5
COOL_DOWN_SECONDS = 30.0


class Circuit(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    """Requests pass."""
    OPEN = "open"
    """Requests are refused until the cool-down is over."""
    HALF_OPEN = "half_open"
    """One request, the probe, is in flight; all others are refused."""


class Breaker:
    """Decides whether a model may be asked. Belongs to one event loop."""

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._failures = 0
        self._opened_at = 0.0
        self._era = 0
        self.circuit = Circuit.CLOSED
        self.openings = 0
        """How many times the circuit has opened."""

    def retry_after(self) -> float:
        """Seconds until a request may pass; 0 where one may now."""
        if self.circuit is Circuit.CLOSED:
            return 0.0
        left = max(self._opened_at + COOL_DOWN_SECONDS - self._clock(), 0.0)
        return left if self.circuit is Circuit.OPEN else max(left, 1.0)

    def admit(self, *, has_time: bool = True) -> Permit | None:
        """Let one request pass; returns None while the circuit is open.

        Without ``has_time``, the request has less time than the model may need, so its timeout
        does not count as a failure of the model.
        """
        if self.circuit is not Circuit.CLOSED:
            if self.retry_after():
                return None
            self._change(Circuit.HALF_OPEN)
        return Permit(self, self._era, has_time)

    def record(self, era: int, *, failed: bool) -> None:
        """Record a request's result; it is ignored if the circuit has changed since ``era``."""
        if era != self._era:
            return
        self._failures = self._failures + 1 if failed else 0
        if failed and (self._failures >= FAILURES_TO_OPEN or self.circuit is Circuit.HALF_OPEN):
            self._opened_at = self._clock()
            self.openings += 1
            self._change(Circuit.OPEN)
        elif self.circuit is Circuit.HALF_OPEN:
            self._change(Circuit.CLOSED)

    def give_back(self, era: int) -> None:
        """Let another request be the probe, because that of ``era`` ended without a result."""
        if era == self._era and self.circuit is Circuit.HALF_OPEN:
            self._change(Circuit.OPEN)

    def _change(self, circuit: Circuit) -> None:
        log.warning("The circuit of %s is now %s, was %s", self._name, circuit, self.circuit)
        self.circuit = circuit
        self._era += 1

    def snapshot(self) -> dict[str, str | int | float]:
        """The breaker's state for metrics."""
        return {
            "circuit": self.circuit.value,
            "failures_in_a_row": self._failures,
            "openings": self.openings,
            "retry_after": round(self.retry_after(), 1),
        }


@dataclass(frozen=True, slots=True)
class Permit:
    """A context manager around one request, which records the request's result in the breaker."""

    breaker: Breaker
    era: int
    has_time: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        match self._verdict(error):
            case None:
                self.breaker.give_back(self.era)
            case failed:
                self.breaker.record(self.era, failed=failed)

    def _verdict(self, error: BaseException | None) -> bool | None:
        """Whether the model failed; None if the result does not show it."""
        if error is None:
            return False
        if not isinstance(error, FoundryError):  # the caller disconnected, or the app has a bug
            return None
        ran_out_of_time = isinstance(error, TimeoutError) and error.status_code is None
        if error.treatment.counts:
            return None if ran_out_of_time and not self.has_time else True
        was_answered = error.request_id is not None
        return False if was_answered else None
