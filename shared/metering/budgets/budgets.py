"""Reserves what a turn may need before it is sent, and settles the reservation afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from ulid import ULID

from ...config.spending import Budget
from ...state.client_keys import KeyTerms
from ...state.errors import StateError
from ...state.lanes import Clock
from ...state.table import Table
from .account import Account, BudgetUse, Rest
from .limits import Amount, BudgetTooSmallError, Limit, limits_of, limits_of_key

log = logging.getLogger(__name__)

RENEW_SECONDS = 15.0
"""How often rows are written while something is claimed. Usage of a killed instance since its last
write is lost."""


NOTHING = Amount()


@dataclass(slots=True)
class Reservation:
    """The reservation of a turn, which an ``async with`` block settles.

    If `spend` was not called, the turn was not sent and used nothing.
    """

    need: Amount = NOTHING
    warnings: tuple[str, ...] = ()
    """Warnings for the caller about budgets that are nearly used up."""
    rests: tuple[Rest, ...] = ()
    """What is left of each budget, this reservation subtracted."""
    _parts: list[tuple[Account, datetime]] = field(default_factory=list[tuple[Account, datetime]])
    _used: Amount = NOTHING

    @property
    def is_empty(self) -> bool:
        """Whether no budget limits the turn."""
        return not self._parts

    def spend(self, used: Amount) -> None:
        """Set what the turn used."""
        self._used = used

    async def reserve(self, account: Account) -> None:
        """Reserve the need in an account."""
        amount = self.need.of(account.limit.measure, ended=False)
        self._parts.append((account, await account.take(amount)))

    async def settle(self) -> None:
        """Replace the reserved amounts by the used ones."""
        parts, self._parts = self._parts, []
        for account, period in parts:
            measure = account.limit.measure
            reserved, used = self.need.of(measure, ended=False), self._used.of(measure, ended=True)
            try:
                await account.settle(period, reserved, used)
            except StateError as error:
                log.warning("A turn's usage is written later: %s", error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.settle()


class Budgets:
    """The budgets of all owners, in this instance."""

    def __init__(self, budgets: Sequence[Budget], table: Table, clock: Clock) -> None:
        self._budgets = budgets
        self._table = table
        self._clock = clock
        self._instance = str(ULID())
        self._accounts: dict[Limit, Account] = {}
        self._task: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._budgets)

    async def reserve(
        self, owner: str, department: str | None, need: Amount, key: KeyTerms | None = None
    ) -> Reservation:
        """Reserve what a turn may need in the budgets of its owner, department and client key.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now; nothing is reserved.
            StorageUnavailableError: if budgets cannot be read or written.
        """
        limits = self.check(owner, department, need, key)
        reservation = Reservation(need)
        accounts = [self._account(each) for each in limits]
        try:
            for account in accounts:
                await reservation.reserve(account)
        except BaseException:
            await reservation.settle()
            raise
        reservation.warnings = tuple(text for each in accounts if (text := each.warning))
        reservation.rests = tuple(each.rest for each in accounts)
        if accounts and self._task is None:
            self._task = asyncio.create_task(self._renew_regularly())
        return reservation

    def check(
        self, owner: str, department: str | None, need: Amount, key: KeyTerms | None = None
    ) -> list[Limit]:
        """The limits that apply to a turn; nothing is reserved or read.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
        """
        limits = [*limits_of(self._budgets, owner, department), *limits_of_key(key)]
        for limit in limits:
            needed = need.of(limit.measure, ended=False)
            if needed > limit.amount:
                raise BudgetTooSmallError(limit, needed)
        return limits

    async def use(
        self, owner: str, departments: Iterable[str] = (), key: KeyTerms | None = None
    ) -> list[BudgetUse]:
        """The use of each budget of an owner, its departments and a client key, by one read each.

        Raises:
            StorageUnavailableError: if budgets cannot be read.
        """
        limits = dict.fromkeys(limits_of_key(key))
        for department in (None, *departments):
            limits |= dict.fromkeys(limits_of(self._budgets, owner, department))
        return await asyncio.gather(*(self._seen(limit).use() for limit in limits))

    def _seen(self, limit: Limit) -> Account:
        """The account of a limit; a new one is not kept, because only turns need that."""
        known = self._accounts.get(limit)
        return known or Account(limit, self._table, self._instance, self._clock)

    def _account(self, limit: Limit) -> Account:
        account = self._accounts[limit] = self._seen(limit)
        account.touch()
        return account

    async def _renew_regularly(self) -> None:
        """Write rows until nothing is claimed; the next turn starts a new task."""
        while any(not account.is_idle for account in self._accounts.values()):
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except Exception:  # a background task must not end; it retries
                log.exception("Budget usage could not be written because of an unexpected error")
        self._task = None

    async def renew(self, *, closing: bool = False) -> None:
        """Write current usage and claims, and drop accounts whose period is over."""
        accounts = list(self._accounts.items())
        waiting = [account for _, account in accounts if not account.is_idle]
        results = await asyncio.gather(
            *(account.renew(closing=closing) for account in waiting), return_exceptions=True
        )
        for error in results:
            if isinstance(error, StateError):
                log.warning("Budget usage is written later: %s", error)
            elif isinstance(error, BaseException):
                raise error
        for limit, account in accounts:
            if account.is_over:
                del self._accounts[limit]

    async def aclose(self) -> None:
        """Release all claims; the table is closed by its owner."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.renew(closing=True)
