"""Places for requests in flight, whose number may change while they are taken."""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """At most so many hold a place; the others wait in the order in which they came."""

    def __init__(self, most: float) -> None:
        self._most = most
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Take a place, when one is free."""
        if self.taken < self._most:  # then nothing waits
            self.taken += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given in the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place back, to the one that waits longest."""
        self.taken -= 1
        self._admit()

    def resize(self, most: float) -> None:
        """Change the number of places; what has one keeps it."""
        self._most = most
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.taken < self._most:
            place = self._waiting.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)
