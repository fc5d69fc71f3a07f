"""One limit in this instance: what the instance has spent of it, and what it has claimed.

Each instance has its own row. Before it spends, it writes its total claim to its row, then reads
the rows of all instances. If two instances do this at once, at least one of them sees the other, so
claims never exceed the limit. Far from the limit, a claim is larger than the current turn needs, so
the next turns need no request; near the limit, each turn makes its own claim. Claims expire unless
they are renewed, so those of a dead instance end.

Usage can exceed a limit only by what turns use beyond their estimates, if they are in flight, or
their usage is not written yet, when the last turn is admitted. If an instance is killed, its usage
since it last wrote its row is not counted either.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...state.errors import RowChangedError
from ...state.lanes import Clock
from ...state.row_deletion import delete_rows
from ...state.table import Change, Operation, Row, Table
from .limits import BUDGET_PREFIX, WARNING_SHARE, BudgetExhaustedError, Limit, Measure

log = logging.getLogger(__name__)

CLAIM_LASTS = timedelta(seconds=60)
"""How long a claim is valid; it is renewed several times meanwhile."""

RENEWAL_MARGIN = timedelta(seconds=15)
"""A claim that expires sooner is renewed before it is used."""

SHARE_DIVISOR = 64
"""A claim exceeds the need by the rest divided by this: small enough to leave some for other
instances, large enough for many turns."""

CLAIM_TRIES = 3
COLLISION_SECONDS = 0.02
"""When instances claim the rest of a budget at once, all but the first by id withdraw, and all
retry after this."""

REFUSAL_LASTS = timedelta(seconds=0.5)
"""For this time, or until a turn of this instance ends, the same amount is refused at once."""

MAX_ROWS = 1_000
MAX_REMOVALS = 10

KEPT = timedelta(days=62)
"""How long a row is kept after its last renewal; the longest period is a month."""


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of a limit is in use on all instances, in its measure."""

    limit: Limit
    used: int
    """By turns that have ended."""
    reserved: int
    """For turns in flight; by other instances also for their next turns."""
    resets_at: datetime | None
    """When the period ends; None for a limit of turns in flight."""

    @property
    def left(self) -> int:
        """What further turns may still use."""
        return max(self.limit.amount - self.used - self.reserved, 0)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a limit, as this instance knows without reading."""

    limit: Limit
    left: int
    """In the measure of the limit."""
    resets_in: float
    """Seconds until its period ends."""


class Account:
    """One limit. Belongs to one event loop."""

    def __init__(self, limit: Limit, table: Table, instance: str, clock: Clock) -> None:
        self.limit = limit
        self._table = table
        self._instance = instance
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = clock()
        self.begin(limit.begins(self._asked_at))

    def begin(self, period: datetime) -> None:
        """Begin a period, with nothing spent or claimed."""
        self.period = period
        self.spent = 0
        self.reserved = 0
        """For turns in flight."""
        self.claimed = 0
        """What our row claims at least; covers what is spent and reserved."""
        self._until = self._clock()
        self._others_spent = 0
        self._others_claimed = 0
        self._is_first = True
        """Whether no instance with a smaller id claims more than it has spent."""
        self.unpublished = False
        """Whether our row may be out of date."""
        self._refused: tuple[int, datetime] | None = None
        """The amount that was refused, and until when."""
        self._used = False
        """Whether something was reserved since the last renewal."""

    def touch(self) -> None:
        """Keep the account for a turn that is about to reserve in it."""
        self._asked_at = self._clock()

    async def take(self, amount: int) -> datetime:
        """Reserve an amount; returns the period to settle it in.

        Raises:
            BudgetExhaustedError: if that would exceed the limit.
            StorageUnavailableError: if the rows cannot be read or written.
        """
        self.touch()
        async with self._lock:
            now = self._clock()
            if (period := self.limit.begins(now)) != self.period:
                self.begin(period)
            if self._refused and amount >= self._refused[0] and now < self._refused[1]:
                raise self._refusal()
            needed = self.spent + self.reserved + amount
            if needed > self.claimed or now > self._until - RENEWAL_MARGIN:
                await self._claim(amount)
            self.reserved += amount
            self._used = True
            return self.period

    async def settle(self, period: datetime, reserved: int, used: int) -> None:
        """Replace a reservation by what was used; usage beyond our claim is written at once."""
        async with self._lock:
            if period != self.period:
                return
            self.reserved -= reserved
            self.spent += used
            self.unpublished, self._refused = True, None
            needed = self.spent + self.reserved
            if needed > self.claimed or not self._may_share:
                await self._publish(needed)

    async def renew(self, *, closing: bool = False) -> None:
        """Write the current usage and release the unused claim."""
        async with self._lock:
            needed = self.spent + self.reserved
            keeps = self._used and not closing and self._may_share
            claim = self.claimed if keeps else needed
            self._used = False
            if self.unpublished or self.claimed > self.spent:
                await self._publish(max(claim, needed))

    @property
    def is_idle(self) -> bool:
        """Whether its row is up to date and claims nothing unused."""
        return not self.unpublished and self.claimed <= self.spent

    @property
    def is_over(self) -> bool:
        """Whether its period is over and it can be dropped."""
        now = self._clock()
        is_past = self.limit.period is None or self.period != self.limit.begins(now)
        return is_past and not self.reserved and now - self._asked_at > CLAIM_LASTS

    @property
    def warning(self) -> str | None:
        """The warning for a caller near the limit."""
        used = self._in_use
        if used < WARNING_SHARE * self.limit.amount:
            return None
        left = self.limit.shown(max(self.limit.amount - used, 0))
        resets_at = self.limit.resets_at(self._clock()).isoformat(timespec="seconds")
        share = 100 * used // self.limit.amount
        name = self.limit.name.encode("ascii", "replace").decode()
        return f"{name}: {share} % used, {left:.12g} left, resets at {resets_at}"

    @property
    def rest(self) -> Rest:
        """What is left beside what is used and reserved."""
        now = self._clock()
        left = max(self.limit.amount - self._in_use, 0)
        return Rest(self.limit, left, (self.limit.resets_at(now) - now).total_seconds())

    @property
    def _in_use(self) -> int:
        return self._others_spent + self.spent + self.reserved

    async def use(self) -> BudgetUse:
        """What is used and reserved now; reads the rows of all instances and writes nothing.

        Raises:
            StorageUnavailableError: if the rows cannot be read.
        """
        others = await self._rows_of_others()
        now = self._clock()
        period = self.limit.begins(now)
        spent, claimed = _sums(others, period, now)
        reserved = claimed - spent
        if period == self.period:
            spent, reserved = spent + self.spent, reserved + self.reserved
        resets_at = self.limit.resets_at(now) if self.limit.period else None
        return BudgetUse(self.limit, spent, reserved, resets_at)

    async def _claim(self, amount: int) -> None:
        """Extend our claim by an amount."""
        needed = self.spent + self.reserved + amount
        for attempt in range(1, CLAIM_TRIES + 1):
            if needed > self.limit.amount or self._others_spent + needed > self.limit.amount:
                break
            if attempt > 1:
                pause = COLLISION_SECONDS * (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                await self._read_others()
            first_try = attempt == 1
            if (first_try or self._is_first or self._fits(needed)) and await self._try_claim(
                needed, with_share=first_try
            ):
                return
        if self.unpublished:
            await self._publish(self.spent + self.reserved)
        self._refused = (amount, self._clock() + REFUSAL_LASTS)
        raise self._refusal()

    async def _try_claim(self, needed: int, *, with_share: bool) -> bool:
        """Publish a claim, and see whether it fits beside those of other instances."""
        rest = self.limit.amount - self._others_claimed - needed
        share = max(rest // SHARE_DIVISOR, 0) if self._may_share and with_share else 0
        claim = max(needed + share, self.claimed)
        before = self.claimed
        await self._publish(claim)
        self.claimed, self.unpublished = before, True  # until it is known to fit
        await self._read_others()
        if self._fits(needed):
            self.claimed = min(claim, self.limit.amount - self._others_claimed)
            self.unpublished = self.claimed < claim
            return True
        if not self._is_first:
            await self._publish(self.spent + self.reserved)
        return False

    def _fits(self, needed: int) -> bool:
        return self._others_claimed + needed <= self.limit.amount

    def _refusal(self) -> BudgetExhaustedError:
        left = self.limit.amount - self._others_claimed - self.spent - self.reserved
        return BudgetExhaustedError(self.limit, left, self._clock())

    @property
    def _may_share(self) -> bool:
        return self.limit.measure is not Measure.CONCURRENT

    async def _publish(self, claim: int) -> None:
        """Write our row; a smaller claim limits us before other instances see it."""
        self.claimed = min(self.claimed, claim)
        spent, until = self.spent, self._clock() + CLAIM_LASTS
        values = {
            "subject": self.limit.subject,
            "period": self.period,
            "spent": spent,
            "claimed": claim,
            "until": until,
        }
        change = Change(Operation.UPSERT, self._instance, values)
        self.unpublished = True
        await self._table.write(self.limit.partition, [change])
        self.claimed, self._until = claim, until
        self.unpublished = False

    async def _read_others(self) -> None:
        """Read what all other instances have spent and claimed in this period."""
        others = await self._rows_of_others()
        now = self._clock()
        self._others_spent, self._others_claimed = _sums(others, self.period, now)
        smaller = [row for row in others if row.row_key < self._instance]
        spent, claimed = _sums(smaller, self.period, now)
        self._is_first = claimed <= spent
        await self._remove([row for row in others if _is_past(row, self.period, now)])

    async def _rows_of_others(self) -> list[Row]:
        rows = await self._table.scan(self.limit.partition, "", "~", limit=MAX_ROWS)
        return [row for row in rows if row.row_key != self._instance]

    async def _remove(self, rows: list[Row]) -> None:
        """Remove rows of past periods and of instances that no longer run."""
        for row in rows[:MAX_REMOVALS]:
            removal = Change(Operation.DELETE, row.row_key, etag=row.etag)
            try:
                await self._table.write(self.limit.partition, [removal])
            except RowChangedError:
                log.debug("A row of %s is in use again", self.limit.name)


def _sums(rows: Sequence[Row], period: datetime, now: datetime) -> tuple[int, int]:
    """What the instances of these rows have spent in a period, and what they claim."""
    spent = claimed = 0
    for row in rows:
        if row.values["period"] == period:
            is_live = row.values["until"] > now
            spent += row.values["spent"]
            claimed += max(row.values["spent"], row.values["claimed"] if is_live else 0)
    return spent, claimed


def _is_past(row: Row, period: datetime, now: datetime) -> bool:
    """Whether a row is of an earlier period, or of a dead instance's turns in flight."""
    if row.values["period"] < period:
        return True
    return row.values["spent"] == 0 and row.values["until"] + CLAIM_LASTS < now


async def remove_past_rows(table: Table, now: datetime) -> int:
    """Delete the rows that no instance has renewed for two months; returns how many."""
    cursor, removed = (BUDGET_PREFIX, ""), 0
    while page := await table.walk(cursor, limit=MAX_ROWS, select=("until",)):
        for partition, row in page:
            is_budget = partition.startswith(BUDGET_PREFIX)
            if is_budget and row.values["until"] + KEPT <= now:
                removed += await delete_rows(table, partition, [row.row_key])
        partition, last = page[-1]
        if not partition.startswith(BUDGET_PREFIX):
            break
        cursor = (partition, last.row_key)
    return removed
