"""Limits for one owner in this process, so that enough capacity is left for other owners.

Each process counts by itself, so an owner has these limits on each instance.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from ..config import LimitSettings

WINDOW_SECONDS = 60.0
"""The time in which an owner may start `MAX_THREADS_PER_MINUTE` threads."""

RETRY_SECONDS = 1.0
"""The `Retry-After` of a refused request: another request may have ended by then."""

MAX_REMEMBERED_OWNERS = 10_000
"""The most owners whose started threads are counted; the least recent is dropped first."""


class OwnerLimit(StrEnum):
    """The limits of an owner."""

    REQUESTS = "requests"
    WAITS = "waits"
    NEW_THREADS = "new_threads"
    BODY_SECONDS = "body_seconds"


class LimitError(Exception):
    """A caller exceeds a limit."""

    def __init__(self, limit: OwnerLimit, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.limit = limit
        self.retry_after = retry_after
        """Seconds after which to try again."""


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit an owner uses on this instance."""

    most: int
    used: int

    @property
    def left(self) -> int:
        """How much more the owner may use now."""
        return max(self.most - self.used, 0)


class OwnerLimits:
    """Counts what owners use. Belongs to one event loop."""

    def __init__(
        self,
        settings: LimitSettings,
        turns_running: Callable[[str], int],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._turns_running = turns_running
        self._clock = clock
        self._requests: Counter[str] = Counter()
        self._waits: Counter[str] = Counter()
        self._started: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By owner: a count of started threads, which decreases with time, and its last update."""

    @contextmanager
    def request(self, owner: str) -> Generator[None]:
        """Count a request during the block; turns of disconnected callers count too.

        Raises:
            LimitError: if the owner has too many requests.
        """
        most = self._settings.requests
        if self._in_flight(owner) >= most:
            raise LimitError(
                OwnerLimit.REQUESTS,
                f"{most} of your requests are being answered at once; wait for some of them.",
                RETRY_SECONDS,
            )
        with _counted(self._requests, owner):
            yield

    @contextmanager
    def waiting(self, owner: str, seconds: float) -> Generator[None]:
        """Count a request with `wait` during the block, if ``seconds`` is above 0.

        Raises:
            LimitError: if too many requests of the owner wait.
        """
        if not seconds:
            yield
            return
        most = self._settings.waits
        if self._waits[owner] >= most:
            raise LimitError(
                OwnerLimit.WAITS, f"{most} of your requests wait; ask without wait.", RETRY_SECONDS
            )
        with _counted(self._waits, owner):
            yield

    def new_thread(self, owner: str) -> None:
        """Count a thread that is about to be started.

        Raises:
            LimitError: if the owner started too many within a minute.
        """
        most, now = self._settings.threads_per_minute, self._clock()
        count = self._started_lately(owner, now)
        if count > most - 1:
            raise LimitError(
                OwnerLimit.NEW_THREADS,
                f"You may start {most} threads a minute; go on with those you have.",
                (count - most + 1) * WINDOW_SECONDS / most,
            )
        self._started[owner] = (count + 1, now)
        self._started.move_to_end(owner)
        if len(self._started) > MAX_REMEMBERED_OWNERS:
            self._started.popitem(last=False)

    def use(self, owner: str) -> dict[OwnerLimit, LimitUse]:
        """What an owner uses of each limit that counts something."""
        settings, started = self._settings, self._started_lately(owner, self._clock())
        return {
            OwnerLimit.REQUESTS: LimitUse(settings.requests, self._in_flight(owner)),
            OwnerLimit.WAITS: LimitUse(settings.waits, self._waits[owner]),
            OwnerLimit.NEW_THREADS: LimitUse(settings.threads_per_minute, math.ceil(started)),
        }

    def _in_flight(self, owner: str) -> int:
        """Requests of an owner, or its turns if those are more: callers may have disconnected."""
        return max(self._requests[owner], self._turns_running(owner))

    def _started_lately(self, owner: str, now: float) -> float:
        """The threads that an owner started, which decrease by the limit in a minute."""
        count, at = self._started.get(owner, (0.0, now))
        return max(count - (now - at) * self._settings.threads_per_minute / WINDOW_SECONDS, 0.0)


@contextmanager
def _counted(counts: Counter[str], owner: str) -> Generator[None]:
    counts[owner] += 1
    try:
        yield
    finally:
        counts[owner] -= 1
        if not counts[owner]:
            del counts[owner]
