"""The headers `x-ratelimit-*`, which say what is left of the tightest budget.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..metering.budgets.account import Rest
from ..metering.budgets.limits import Measure

MEASURES = (Measure.REQUESTS, Measure.TOKENS)
"""Of the budgets that the headers can show."""


def rate_limits(rests: Iterable[Rest]) -> dict[str, str]:
    """The headers of an answer, given what is left of the budgets that paid for it."""
    headers: dict[str, str] = {}
    known = sorted(rests, key=lambda rest: (rest.left, -rest.resets_in))
    for measure in MEASURES:
        if rest := next((each for each in known if each.limit.measure is measure), None):
            headers |= _headers(measure, rest.limit.amount, rest.left, rest.resets_in)
    return headers


def refused_by(budget: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """The headers of a refusal, given the budget in its problem document."""
    if budget.get("of") not in MEASURES or "resets_at" not in budget:
        return {}
    resets_in = (datetime.fromisoformat(budget["resets_at"]) - now).total_seconds()
    return _headers(budget["of"], budget["limit"], budget["left"], resets_in)


def _headers(measure: str, amount: float, left: float, resets_in: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{measure}": str(int(amount)),
        f"x-ratelimit-remaining-{measure}": str(int(left)),
        f"x-ratelimit-reset-{measure}": _duration(resets_in),
    }


def _duration(seconds: float) -> str:
    """A time as OpenAI writes it: `1h0m5s`, `6m0s`, `45s`."""
    minutes, rest = divmod(max(math.ceil(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
