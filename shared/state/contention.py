"""Bounds optimistic writes: read a row, write it if it is unchanged, else try again.

The first failed round is repeated at once, because the row may only have come from an outdated
cache. Later rounds wait longer, with jitter, so that the writers of one row spread out; one of them
succeeds in every round. A writer that fails `MAX_ROUNDS` times gives up.
"""

from __future__ import annotations

import asyncio
import random

from .errors import StorageContentionError

MAX_ROUNDS = 20
"""About 10 s in all, enough for hundreds of concurrent writers of one row."""

FIRST_PAUSE_SECONDS = 0.01
MAX_PAUSE_SECONDS = 1.0


class Contention:
    """Counts the failed rounds of one write."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._lost = 0

    async def pause(self, error: Exception) -> None:
        """Wait before the next round, after one that failed with ``error``.

        Raises:
            StorageContentionError: after the last round.
        """
        self._lost += 1
        if self._lost >= MAX_ROUNDS:
            raise StorageContentionError(self._subject) from error
        if self._lost > 1:
            longest = min(FIRST_PAUSE_SECONDS * 2 ** (self._lost - 2), MAX_PAUSE_SECONDS)
            await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
