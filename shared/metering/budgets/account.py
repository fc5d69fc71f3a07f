"""One limit as this instance sees it: what it spent of it, and what it has claimed.

Each instance has a row of its own. Before it spends, it writes into its row how much it claims
in all, and then reads the rows of all instances: two who do that at once see each other, whoever
was first, so claims never add up to more than the limit. Far from the limit a claim is larger
than the turn at hand needs, and the turns after it cost no request; near the limit each turn
claims for itself. Claims that nobody renews, because their instance died, run out.

What can exceed a limit is only what turns use beyond their estimates: those in flight, or whose
end is not in a row yet, when the last turn was admitted. To that comes, where an instance was
killed, what it had spent of its claim since it last wrote its row.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta

from ...state.errors import RowChangedError
from ...state.lanes import Clock
from ...state.table import Change, Operation, Row, Table
from .limits import WARNING_SHARE, BudgetExhaustedError, Limit, Measure

log = logging.getLogger(__name__)

CLAIM_LASTS = timedelta(seconds=60)
"""Unless it is renewed, which is done several times meanwhile."""

RENEWAL_MARGIN = timedelta(seconds=15)
"""A claim that is about to run out is not spent from."""

SHARE = 64
"""A claim beyond what is needed is this part of what is left: small enough to leave some for
the others, large enough to serve many turns."""

CLAIM_TRIES = 3
COLLISION_SECONDS = 0.02
"""Two who claim the last of a budget at once both step back, and try again after this or more."""

REFUSAL_LASTS = timedelta(seconds=0.5)
"""So long, or until a turn here ends, as much is refused again without another look."""

MAX_ROWS = 1_000
MAX_REMOVALS = 10


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
        """What our row says at least; covers what is spent and reserved."""
        self._until = self._clock()
        self._others_spent = 0
        self._others_claimed = 0
        self.unpublished = False
        """Whether our row may differ from what is so."""
        self._refused: tuple[int, datetime] | None = None
        """What was refused, and until when that holds."""
        self._used = False
        """Whether something was taken since the last renewal."""

    async def take(self, amount: int) -> datetime:
        """Reserve an amount; returns the period to settle it in.

        Raises:
            BudgetExhaustedError: if that would exceed the limit.
            StorageUnavailableError: if nobody can tell.
        """
        self._asked_at = self._clock()
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
        """Replace a reservation by what was used; what exceeds our claim is told at once."""
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
        """Write what is so, and give back what was claimed in vain."""
        async with self._lock:
            needed = self.spent + self.reserved
            keeps = self._used and not closing and self._may_share
            claim = self.claimed if keeps else needed
            self._used = False
            if self.unpublished or self.claimed > self.spent:
                await self._publish(max(claim, needed))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be written for it."""
        return not self.unpublished and self.claimed <= self.spent

    @property
    def is_over(self) -> bool:
        """Whether it can be forgotten."""
        now = self._clock()
        is_past = self.limit.period is None or self.period != self.limit.begins(now)
        return is_past and not self.reserved and now - self._asked_at > CLAIM_LASTS

    @property
    def warning(self) -> str | None:
        """What to tell a caller who comes near the limit."""
        used = self._others_spent + self.spent + self.reserved
        if used < WARNING_SHARE * self.limit.amount:
            return None
        left = self.limit.shown(max(self.limit.amount - used, 0))
        resets_at = self.limit.resets_at(self._clock()).isoformat(timespec="seconds")
        share = 100 * used // self.limit.amount
        name = self.limit.name.encode("ascii", "replace").decode()
        return f"{name}: {share} % used, {left:.12g} left, resets at {resets_at}"

    async def _claim(self, amount: int) -> None:
        """See to it that our claim covers another amount."""
        needed = self.spent + self.reserved + amount
        for attempt in range(1, CLAIM_TRIES + 1):
            if needed > self.limit.amount:
                break
            rest = self.limit.amount - self._others_claimed - needed
            share = max(rest // SHARE, 0) if self._may_share and attempt == 1 else 0
            claim = max(needed + share, self.claimed)
            held = self.claimed
            await self._publish(claim)
            self.claimed, self.unpublished = held, True  # until we know that it fits
            await self._look()
            if self._others_claimed + needed <= self.limit.amount:
                self.claimed = min(claim, self.limit.amount - self._others_claimed)
                self.unpublished = self.claimed < claim
                return
            await self._publish(self.spent + self.reserved)
            if self._others_spent + needed > self.limit.amount or attempt == CLAIM_TRIES:
                break
            pause = COLLISION_SECONDS * attempt
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        self._refused = (amount, self._clock() + REFUSAL_LASTS)
        raise self._refusal()

    def _refusal(self) -> BudgetExhaustedError:
        left = self.limit.amount - self._others_claimed - self.spent - self.reserved
        return BudgetExhaustedError(self.limit, left, self._clock())

    @property
    def _may_share(self) -> bool:
        return self.limit.measure is not Measure.CONCURRENT

    async def _publish(self, claim: int) -> None:
        """Write our row; a smaller claim counts for us before it does for the others."""
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

    async def _look(self) -> None:
        """Read what all other instances have spent and claimed in this period."""
        rows = await self._table.scan(self.limit.partition, "", "~", limit=MAX_ROWS)
        now, spent, claimed = self._clock(), 0, 0
        others = [row for row in rows if row.row_key != self._instance]
        for row in others:
            if row.values["period"] == self.period:
                is_live = row.values["until"] > now
                spent += row.values["spent"]
                claimed += max(row.values["spent"], row.values["claimed"] if is_live else 0)
        self._others_spent, self._others_claimed = spent, claimed
        await self._remove([row for row in others if _is_past(row, self.period, now)])

    async def _remove(self, rows: list[Row]) -> None:
        """Remove rows that nobody needs; their instances are gone, or write new ones."""
        for row in rows[:MAX_REMOVALS]:
            removal = Change(Operation.DELETE, row.row_key, etag=row.etag)
            try:
                await self._table.write(self.limit.partition, [removal])
            except RowChangedError:
                log.debug("A row of %s is in use again", self.limit.name)


def _is_past(row: Row, period: datetime, now: datetime) -> bool:
    """Whether a row tells of an earlier period, or of turns in flight that died."""
    if row.values["period"] < period:
        return True
    return row.values["spent"] == 0 and row.values["until"] + CLAIM_LASTS < now
