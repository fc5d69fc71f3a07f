"""Waiting for something to become true, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_SECONDS = 20.0


async def eventually(
    condition: Callable[[], Any | Awaitable[Any]], seconds: float = DEADLINE_SECONDS
) -> Any:
    """Return the first truthy answer of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.02)
