"""Waiting for something to become true, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_SECONDS = 60.0
"""More than a busy machine needs to start an app."""

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.2
PAUSE_SHARE = 0.1
"""Of the time waited so far, the next pause: what comes late is asked for less often."""


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]], seconds: float = DEADLINE_SECONDS
) -> Any:
    """Return the first truthy answer of `condition`; fail when there is none in time."""
    started = time.monotonic()
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds} s: {condition}"
        pause = max(FIRST_PAUSE_SECONDS, waited * PAUSE_SHARE)
        await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
