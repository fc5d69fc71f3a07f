"""Bounds the loops that read a row and write it if no other writer did meanwhile.

The first lost round is repeated at once, because all that was wrong may be a row remembered from
before. Each later one waits a little longer, by chance, so that the writers of one row get out of
each other's way: in every round one of them wins. One that loses `MAX_ROUNDS` times gives up.
"""

from __future__ import annotations

import asyncio
import random

from .errors import StorageContentionError

MAX_ROUNDS = 20
"""About 10 s together. A row that hundreds write at once settles well before."""

FIRST_PAUSE_SECONDS = 0.01
MAX_PAUSE_SECONDS = 1.0


class Contention:
    """Counts the rounds that one write has lost."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._lost = 0

    async def pause(self, error: Exception) -> None:
        """Wait before the next round, after one that was lost with ``error``.

        Raises:
            StorageContentionError: if it was the last one.
        """
        self._lost += 1
        if self._lost >= MAX_ROUNDS:
            raise StorageContentionError(self._subject) from error
        if self._lost > 1:
            longest = min(FIRST_PAUSE_SECONDS * 2 ** (self._lost - 2), MAX_PAUSE_SECONDS)
            await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
