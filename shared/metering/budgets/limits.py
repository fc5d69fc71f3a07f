"""Which limits a turn is under, how much it may need, and what it is told when that is too much."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ...config.spending import ANY, NANOS, Budget, Period
from ...state.table import EARLIEST_MOMENT

WARNING_SHARE = 0.8
"""From here on, answers say how much of a budget is used."""

CONCURRENCY_PAUSE = timedelta(seconds=5)
"""After which somebody who has too many turns in flight may try again."""


BUDGET_PREFIX = "$budget!"
"""How the partitions of all counters begin."""


class Measure(StrEnum):
    """What is limited."""

    TOKENS = "tokens"
    MONEY = "money"
    REQUESTS = "requests"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Amount:
    """What a turn needs or has used."""

    tokens: int = 0
    nanos: int = 0
    """Billionths of the currency."""
    requests: int = 0

    def of(self, measure: Measure, *, ended: bool) -> int:
        """As a measure counts it; a turn that has ended is not in flight any more."""
        match measure:
            case Measure.TOKENS:
                return self.tokens
            case Measure.MONEY:
                return self.nanos
            case Measure.REQUESTS:
                return self.requests
            case Measure.CONCURRENT:
                return 0 if ended else 1


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget as it applies to one owner or department."""

    subject: str
    """`owner:...` or `department:...`."""
    measure: Measure
    period: Period | None
    amount: int
    """In tokens, billionths, requests or turns."""

    @property
    def partition(self) -> str:
        """Where the rows of all instances stand; the amount may be changed at any time."""
        digest = hashlib.sha256(self.subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{BUDGET_PREFIX}{digest}!{self.measure}!{self.period or 'turns'}"

    def begins(self, now: datetime) -> datetime:
        """When the period began that a moment is in."""
        now = now.astimezone(UTC).replace(second=0, microsecond=0)
        match self.period:
            case Period.MINUTE:
                return now
            case Period.DAY:
                return now.replace(hour=0, minute=0)
            case Period.MONTH:
                return now.replace(day=1, hour=0, minute=0)
            case None:
                return EARLIEST_MOMENT

    def resets_at(self, now: datetime) -> datetime:
        """When the next period begins; for turns in flight, when one may have ended."""
        begin = self.begins(now)
        match self.period:
            case Period.MINUTE:
                return begin + timedelta(minutes=1)
            case Period.DAY:
                return begin + timedelta(days=1)
            case Period.MONTH:
                return (begin + timedelta(days=32)).replace(day=1)
            case None:
                return now + CONCURRENCY_PAUSE

    def shown(self, amount: int) -> int | float:
        """An amount as people write it."""
        return amount / NANOS if self.measure is Measure.MONEY else amount

    @property
    def name(self) -> str:
        """As people call it, such as `tokens per day of owner:key`."""
        per = f" per {self.period}" if self.period else " turns"
        return f"{self.measure}{per} of {self.subject}"


class BudgetTooSmallError(Exception):
    """A turn may need more than a whole budget: it cannot ever begin."""

    def __init__(self, limit: Limit, need: int) -> None:
        self.limit = limit
        self.need = need
        super().__init__(
            f"This may need {limit.shown(need):.12g}, more than the whole budget of "
            f"{limit.shown(limit.amount):.12g} {limit.name}: it can never run as it is. "
            "Shorten it, or lower max_tokens."
        )


class BudgetExhaustedError(Exception):
    """A turn would exceed a budget; it was not begun."""

    def __init__(self, limit: Limit, left: int, now: datetime) -> None:
        self.limit = limit
        self.left = max(left, 0)
        self.resets_at = limit.resets_at(now)
        self.retry_after = max((self.resets_at - now).total_seconds(), 1.0)
        """Seconds until then."""
        super().__init__(
            f"The budget of {limit.shown(limit.amount):.12g} {limit.name} does not allow this: "
            f"{limit.shown(self.left):.12g} are left, and it resets at "
            f"{self.resets_at.isoformat(timespec='seconds')}."
        )

    @property
    def is_spent(self) -> bool:
        """Whether money or tokens are used up, rather than too much asked at once."""
        return self.limit.measure in {Measure.TOKENS, Measure.MONEY}


def limits_of(budgets: Sequence[Budget], owner: str, department: str | None) -> list[Limit]:
    """The limits that the turns of an owner, for a department, are under.

    Of two budgets for the same thing, the one that names its owner or department counts, or else
    the lower one.
    """
    found: dict[tuple[str, Measure, Period | None], tuple[bool, Limit]] = {}
    for kind, name in (("owner", owner), ("department", department)):
        for budget in budgets:
            stated = budget.owner if kind == "owner" else budget.department
            if name is None or stated not in {ANY, name}:
                continue
            limit, is_general = _limit(budget, f"{kind}:{name}"), stated == ANY
            key = (limit.subject, limit.measure, limit.period)
            before = found.get(key)
            if before is None or (is_general, limit.amount) < (before[0], before[1].amount):
                found[key] = (is_general, limit)
    return [limit for _, limit in found.values()]


def _limit(budget: Budget, subject: str) -> Limit:
    amounts = {
        Measure.TOKENS: budget.tokens,
        Measure.MONEY: None if budget.money is None else round(budget.money * NANOS),
        Measure.REQUESTS: budget.requests,
        Measure.CONCURRENT: budget.concurrent,
    }
    measure, amount = next((m, a) for m, a in amounts.items() if a is not None)
    return Limit(subject, measure, budget.per, amount)
