"""When to try again, and after how long. Nothing below this retries.

A refusal by quota (429) delays every request of the process for that deployment, not only the one
that was refused, because the others would be refused as well.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeVar

from .errors import RATE_LIMIT, FoundryError, RateLimitedError
from .metrics import ClientMetrics
from .places import Places

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0

_T = TypeVar("_T")


class HeldBackError(RateLimitedError):
    """The gate did not let the request pass in time; it was not sent, and is not repeated."""

    treatment = replace(RATE_LIMIT, repeats=0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try again, and how long to wait before."""

    max_retries: int
    random: Callable[[], float] = random.random
    """Uniform in [0, 1)."""

    def delay(self, error: FoundryError, failures: int) -> float | None:
        """Seconds to wait after the ``failures``-th failure; None to give up."""
        return self.pause(error, failures) if self.may_repeat(error, failures) else None

    def may_repeat(self, error: FoundryError, failures: int) -> bool:
        """Whether another attempt is allowed after the ``failures``-th failure."""
        return failures <= min(self.max_retries, error.treatment.repeats)

    def pause(self, error: FoundryError, failures: int) -> float:
        """Seconds that nothing should be sent after the ``failures``-th failure.

        A wait that the service asks for is used as it is. Else it is drawn evenly between nothing
        and a bound that doubles (full jitter), so that many clients do not come back together.
        """
        if error.retry_after is not None:
            return error.retry_after
        bound = min(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), MAX_BACKOFF_SECONDS)
        return self.random() * bound

    async def repeat(self, call: Callable[[float], Awaitable[_T]], deadline: Deadline) -> _T:
        """Make a call, and repeat it where that can help; it is called with the seconds left."""
        failures = 0
        while True:
            try:
                return await call(deadline.remaining())
            except FoundryError as error:
                failures += 1
                delay = self.delay(error, failures)
                if delay is None or delay >= deadline.remaining():
                    raise
                log.debug("A call failed (%s); again in %.2f s", error.code, delay)
                await asyncio.sleep(delay)


class Deadline:
    """The moment by which something must be over."""

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(self._at - monotonic(), 0.0)


@dataclass(slots=True)
class Gate:
    """Lets requests to one deployment pass: none while it is paused, few at a time if limited.

    All that waited during a pause would use up the next quota at once, and most of it would be
    refused again. So after a pause, half as many requests as before may be in flight, and one more
    for each success: their number approaches what the quota allows, and few are refused.
    """

    metrics: ClientMetrics
    limit: int = 0
    """The most requests in flight; 0 for no limit."""
    _window: float = math.inf
    """The most in flight since the last pause."""
    _open_at: float = 0.0
    _places: Places = field(init=False)

    def __post_init__(self) -> None:
        self._places = Places(self._most)

    @property
    def _most(self) -> float:
        return min(self.limit or math.inf, self._window)

    @property
    def _is_paused(self) -> bool:
        return self._open_at > monotonic()

    def pause(self, seconds: float) -> None:
        """Hold requests back for so long, or longer if a longer pause runs already."""
        if not self._is_paused:
            self._resize(max(self._places.taken // 2, 1))
        self._open_at = max(self._open_at, monotonic() + seconds)

    def heed(self, error: FoundryError, seconds: float) -> bool:
        """Pause after a refusal by quota; returns whether it did, so that the caller waits here."""
        if not isinstance(error, RateLimitedError) or isinstance(error, HeldBackError):
            return False
        self.pause(seconds)
        return True

    @asynccontextmanager
    async def passing(self, deadline: Deadline) -> AsyncGenerator[None]:
        """Pass the gate for the time of the block.

        Raises:
            HeldBackError: if the gate stays closed, or full, beyond the deadline.
        """
        await self._enter(deadline)
        try:
            yield
            self._resize(self._window + 1)
        finally:
            self._places.give_back()

    def _resize(self, window: float) -> None:
        self._window = window
        self._places.resize(self._most)

    async def _enter(self, deadline: Deadline) -> None:
        while True:
            await self._wait(deadline)
            await self._take_place(deadline)
            if not self._is_paused:
                return
            self._places.give_back()

    async def _take_place(self, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._places.take()
        except builtins.TimeoutError as error:
            raise self._full() from error

    def _full(self) -> HeldBackError:
        if self._most == self.limit:
            return HeldBackError(
                f"{self.limit} requests were in flight all the time. Raise "
                "FOUNDRY_MAX_CONCURRENCY, or send fewer at once."
            )
        return HeldBackError(
            "The model deployment's quota is used up by earlier requests. Wait, or raise the quota "
            "of the model deployment."
        )

    async def _wait(self, deadline: Deadline) -> None:
        while (pause := self._open_at - monotonic()) > 0:
            if pause >= deadline.remaining():
                raise HeldBackError(
                    f"The model deployment's quota is used up for another {pause:.0f} s. Wait, "
                    "or raise the quota of the model deployment.",
                    retry_after=pause,
                )
            self.metrics.waited_for_quota()
            log.debug("Waiting %.2f s for the deployment's quota", pause)
            await asyncio.sleep(pause)
