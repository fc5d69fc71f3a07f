"""The `x-ratelimit-*` headers of model answers: the remaining quota of the minute."""

import time
from collections import defaultdict
from collections.abc import Callable

WINDOW_SECONDS = 60
REQUESTS_PER_MINUTE = 1_000
TOKENS_PER_MINUTE = 400_000
"""The default quota of Llama-3.3-70B-Instruct, which is reported but not enforced."""
TOKENS_PER_REQUEST = 100
"""Estimate per request; the real service estimates in advance too."""


class RateWindow:
    """Counts requests per deployment in windows of a minute."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._window = 0
        self._requests: defaultdict[str, int] = defaultdict(int)

    def headers(self, deployment: str) -> dict[str, str]:
        """Count one request and return its headers; `remaining` may be negative."""
        now = int(self._clock())
        if now // WINDOW_SECONDS != self._window:
            self._window = now // WINDOW_SECONDS
            self._requests.clear()
        self._requests[deployment] += 1
        used = self._requests[deployment]
        reset = f"{WINDOW_SECONDS - now % WINDOW_SECONDS}s"
        return {
            "x-ratelimit-limit-requests": str(REQUESTS_PER_MINUTE),
            "x-ratelimit-limit-tokens": str(TOKENS_PER_MINUTE),
            "x-ratelimit-remaining-requests": str(REQUESTS_PER_MINUTE - used),
            "x-ratelimit-remaining-tokens": str(TOKENS_PER_MINUTE - used * TOKENS_PER_REQUEST),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-reset-tokens": reset,
        }
