"""Shares a worker's lanes among owners, so that one owner's jobs do not delay another's.

A worker runs `MAX_LANES` lanes. One owner may use them all as long as no lane of another owner is
parked. Else each owner has a share: `JOBS_LANES_PER_OWNER`, or less if there are many owners, but
at least one lane. An owner below its share is admitted even if the worker is full; then lanes of
owners above their share yield after the current turn.

A wake-up that is not admitted is parked: it is put back on the queue, hidden for about as long as
its lane has to wait, and remembered here, so that it runs as soon as another lane ends. If the
process dies, the hidden message becomes visible again.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic

from .queue import WakeUp

MAX_LANES = 48
"""Lanes of one worker. `newBatchThreshold` in host.json is twice as much, so the host fetches more
wake-ups while all lanes run, and each is admitted or parked at once."""

SLICE_SECONDS = 5.0
"""A lane that ran this long yields after its turn if a lane of another owner is parked."""

MIN_PARKED_SECONDS = 2.0
MAX_PARKED_SECONDS = 60.0
"""How long a parked message is hidden, also from workers that start meanwhile."""

FIRST_LANE_SECONDS = 1.0
"""The assumed time of a lane, until lanes have ended in this process."""

AVERAGED_LANES = 16
"""The number of latest lanes over which the time of a lane is averaged."""

MAX_REMEMBERED = 1_000
"""The most remembered lanes of one owner; further ones are only on the queue."""


class Shares:
    """The lanes of one process, for use on one event loop."""

    def __init__(self, most_per_owner: int, clock: Callable[[], float] = monotonic) -> None:
        self._most_per_owner = most_per_owner
        self.now = clock
        self._running: Counter[str] = Counter()
        self._parked: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        """By owner and lane, when the message becomes visible again; the first owner is next."""
        self._lane_seconds = FIRST_LANE_SECONDS

    def admits(self, owner: str) -> bool:
        """Whether one more lane of an owner may run now."""
        if self._running[owner] < self._share(owner):
            return True
        return self._running.total() < MAX_LANES and not self._others_wait(owner)

    def _share(self, owner: str) -> int:
        """The number of lanes that an owner is guaranteed."""
        owners = len({owner, *self._running, *self._parked})
        return max(min(self._most_per_owner, MAX_LANES // owners), 1)

    def _others_wait(self, owner: str) -> bool:
        return len(self._parked) > (owner in self._parked)

    @contextmanager
    def running(self, wake_up: WakeUp) -> Generator[float]:
        """Count a lane as running during the block; yields its start time."""
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
        """Whether a running lane that began at ``started`` should make room for another lane.

        It must in any case after ``until``, the end of its queue message's time.
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

        0 means that another hidden message of the lane exists, so this one is not needed.
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
        """Undo `park`, because the message could not be enqueued or the lane runs."""
        lanes = self._parked.get(wake_up.owner, OrderedDict())
        lanes.pop(wake_up.lane, None)
        if not lanes:
            self._parked.pop(wake_up.owner, None)

    def next_parked(self) -> WakeUp | None:
        """Remove and return the next lane: round robin by owner, in order within an owner."""
        for owner, lanes in self._parked.items():
            if self.admits(owner):
                wake_up = WakeUp(owner, next(iter(lanes)))
                self.forget(wake_up)
                if owner in self._parked:
                    self._parked.move_to_end(owner)
                return wake_up
        return None
