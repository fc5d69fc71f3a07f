"""The limits that apply to a turn, the amounts it may need, and the errors when it exceeds one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ...config.spending import ANY, NANOS, Allowance, Budget, Period, PriceTable
from ...state.client_keys import KeyTerms
from ...state.table import EARLIEST_MOMENT
from ...state.turns import TurnRecord

WARNING_SHARE = 0.8
"""The used share of a budget from which on answers contain a warning."""

CONCURRENCY_PAUSE = timedelta(seconds=5)
"""The time after which a caller with too many turns in flight should retry."""

BYTES_PER_TOKEN = 3
"""Estimated bytes of text per token; English has about 4, other languages fewer."""

IMAGE_TOKENS = 1_500
"""Estimated tokens of a large image."""

BUDGET_PREFIX = "$budget!"
"""The prefix of all partitions of budgets."""


class Measure(StrEnum):
    """The quantity that a budget limits."""

    TOKENS = "tokens"
    MONEY = "money"
    REQUESTS = "requests"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Amount:
    """The amounts that a turn needs or has used."""

    tokens: int = 0
    nanos: int = 0
    """Billionths of the currency."""
    requests: int = 0

    def of(self, measure: Measure, *, ended: bool) -> int:
        """The amount in a measure; a turn that has ended is not in flight any more."""
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
    """`owner:...`, `department:...` or `key:...`, the id of a client key."""
    measure: Measure
    period: Period | None
    amount: int
    """In tokens, billionths, requests or turns."""

    @property
    def partition(self) -> str:
        """The partition of all instances' rows; it stays when the amount of the budget changes."""
        digest = hashlib.sha256(self.subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{BUDGET_PREFIX}{digest}!{self.measure}!{self.period or 'turns'}"

    def begins(self, now: datetime) -> datetime:
        """The start of the period that contains ``now``."""
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
        """The start of the next period; for a limit of turns in flight, the time to retry."""
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
        """Convert an amount to the unit of the settings."""
        return amount / NANOS if self.measure is Measure.MONEY else amount

    @property
    def name(self) -> str:
        """Its name in messages, such as `tokens per day of owner:key`."""
        per = f" per {self.period}" if self.period else " turns"
        return f"{self.measure}{per} of {self.subject}"


class BudgetTooSmallError(Exception):
    """A turn may need more than a whole budget, so it can never run."""

    def __init__(self, limit: Limit, need: int) -> None:
        self.limit = limit
        self.need = need
        super().__init__(
            f"This may need {limit.shown(need):.12g}, more than the whole budget of "
            f"{limit.shown(limit.amount):.12g} {limit.name}: it can never run as it is. "
            "Shorten it, or lower max_tokens."
        )


class BudgetExhaustedError(Exception):
    """A turn would exceed a budget; it was not started."""

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
        """Whether it is a budget of money or tokens, not of requests or concurrent turns."""
        return self.limit.measure in {Measure.TOKENS, Measure.MONEY}


def limits_of(budgets: Sequence[Budget], owner: str, department: str | None) -> list[Limit]:
    """The limits that apply to the turns of an owner and a department.

    If two budgets limit the same quantity of the same owner or department, the one that names it
    applies before one with `*`, and otherwise the lower one.
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


def limits_of_key(terms: KeyTerms | None) -> list[Limit]:
    """The limits of a client key, which no other key shares; the lowest of each kind."""
    found: dict[tuple[Measure, Period | None], Limit] = {}
    for budget in terms.budgets if terms else ():
        limit = _limit(budget, f"key:{terms.key_id}" if terms else "")
        kind = (limit.measure, limit.period)
        found[kind] = min(limit, found.get(kind, limit), key=lambda each: each.amount)
    return list(found.values())


def _limit(budget: Allowance, subject: str) -> Limit:
    amounts = {
        Measure.TOKENS: budget.tokens,
        Measure.MONEY: None if budget.money is None else round(budget.money * NANOS),
        Measure.REQUESTS: budget.requests,
        Measure.CONCURRENT: budget.concurrent,
    }
    measure, amount = next((m, a) for m, a in amounts.items() if a is not None)
    return Limit(subject, measure, budget.per, amount)


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The properties of a turn that determine its estimated cost before it is sent."""

    model: str
    text_bytes: int
    images: int
    history_tokens: int
    """Tokens of the thread's last turn, which are sent again."""
    max_tokens: int
    """The most tokens of the answer."""

    def need(self, prices: PriceTable) -> Amount:
        """The amounts that the turn may need; tool calls are not included."""
        given = self.text_bytes // BYTES_PER_TOKEN + 1
        given += self.images * IMAGE_TOKENS + self.history_tokens
        usage = {"input_tokens": given, "output_tokens": self.max_tokens}
        return Amount(given + self.max_tokens, _nanos(prices, self.model, usage), 1)


def used_by(turn: TurnRecord, need: Amount, prices: PriceTable) -> Amount:
    """The amounts that a turn used; at least its reservation if some usage was not reported.

    A model without a price is charged at the highest price.
    """
    usage = turn.usage
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    tokens = max(tokens, usage.get("total_tokens", 0))
    nanos = turn.effort.cost
    if nanos is None:
        nanos = _nanos(prices, turn.model, usage)
    if turn.effort.unreported:
        return Amount(max(tokens, need.tokens), max(nanos, need.nanos), 1)
    return Amount(tokens, nanos, 1)


def _nanos(prices: PriceTable, model: str, usage: Mapping[str, int]) -> int:
    price = prices.at_most(model)
    return (price.nanos(usage) if price else None) or 0
