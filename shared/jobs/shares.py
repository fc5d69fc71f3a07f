"""Shares a worker's lanes among owners, so that no owner's jobs hold up another's.

A worker runs `MAX_LANES` lanes. One owner may have all of them as long as no other owner's lane is
parked; else each has its share: `JOBS_LANES_PER_OWNER`, less where there are many owners, and one
at least. An owner below its share is admitted even to a full worker, where lanes of owners above
theirs yield after their current turn.

A wake-up that is not admitted is parked: put back on the queue, hidden for about as long as its
lane has to wait, and remembered here, so that the next lane that ends makes room for it at once.
What is remembered dies with the process; the hidden message comes back, here or elsewhere.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic

from .queue import WakeUp

MAX_LANES = 48
"""Lanes of one worker. `newBatchThreshold` in host.json is twice as much: the host goes on fetching
while all of them run, so that a wake-up is parked, or admitted, as soon as it comes."""

SLICE_SECONDS = 5.0
"""A lane that ran this long yields after its current turn, if another owner's is parked."""

MIN_PARKED_SECONDS = 2.0
MAX_PARKED_SECONDS = 60.0
"""How long a parked message is hidden; a worker that starts meanwhile sees it only then."""

FIRST_LANE_SECONDS = 1.0
"""Until lanes have ended here: how long one is taken to run."""

AVERAGED_LANES = 16
"""About as many of the latest lanes say how long one runs."""

MAX_REMEMBERED = 1_000
"""Parked lanes of one owner. Beyond, the queue alone knows of them."""


class Shares:
    """The lanes of one process. Belongs to one event loop."""

    def __init__(self, most_per_owner: int, clock: Callable[[], float] = monotonic) -> None:
        self._most_per_owner = most_per_owner
        self.now = clock
        self._running: Counter[str] = Counter()
        self._parked: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        """By owner and lane: when the hidden message shows again. The first owner is next."""
        self._lane_seconds = FIRST_LANE_SECONDS

    def admits(self, owner: str) -> bool:
        """Whether one more lane of an owner may run now."""
        if self._running[owner] < self._share(owner):
            return True
        return self._running.total() < MAX_LANES and not self._others_wait(owner)

    def _share(self, owner: str) -> int:
        """The lanes that an owner has for certain."""
        owners = len({owner, *self._running, *self._parked})
        return max(min(self._most_per_owner, MAX_LANES // owners), 1)

    def _others_wait(self, owner: str) -> bool:
        return len(self._parked) > (owner in self._parked)

    @contextmanager
    def running(self, wake_up: WakeUp) -> Generator[float]:
        """Count a lane as running for the time of the block; gives the moment it began."""
        owner, started = wake_up.owner, self.now()
        self.forget(wake_up)
        self._running[owner] += 1
        try:
            yield started
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
            self._lane_seconds += (self.now() - started - self._lane_seconds) / AVERAGED_LANES

    def must_yield(self, owner: str, started: float, until: float) -> bool:
        """Whether a running lane, which began at a moment, should make room for another.

        It must in any case where its message has no more time than ``until``.
        """
        now = self.now()
        if now >= until:
            return True
        others_wait = self._others_wait(owner)
        if self._running[owner] > self._share(owner):
            return others_wait or self._running.total() > MAX_LANES
        return others_wait and now - started >= SLICE_SECONDS

    def park(self, wake_up: WakeUp) -> float:
        """Remember a lane that has to wait; returns for how many seconds to hide its message.

        0 if a message of the lane is hidden already, which makes this one superfluous.
        """
        now = self.now()
        lanes = self._parked.setdefault(wake_up.owner, OrderedDict())
        if lanes.get(wake_up.lane, now) > now:
            return 0.0
        rounds = (len(lanes) + 1) / max(self._running[wake_up.owner], 1)
        seconds = min(max(rounds * self._lane_seconds, MIN_PARKED_SECONDS), MAX_PARKED_SECONDS)
        seconds *= random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        if wake_up.lane in lanes or len(lanes) < MAX_REMEMBERED:
            lanes[wake_up.lane] = now + seconds
        return seconds

    def forget(self, wake_up: WakeUp) -> None:
        """Undo `park`: the message could not be put, or the lane runs."""
        lanes = self._parked.get(wake_up.owner, OrderedDict())
        lanes.pop(wake_up.lane, None)
        if not lanes:
            self._parked.pop(wake_up.owner, None)

    def next_parked(self) -> WakeUp | None:
        """Take out the lane to run next: owners take turns, an owner's lanes go in order."""
        for owner, lanes in self._parked.items():
            if self.admits(owner):
                wake_up = WakeUp(owner, next(iter(lanes)))
                self.forget(wake_up)
                if owner in self._parked:
                    self._parked.move_to_end(owner)
                return wake_up
        return None
