"""Lets turns begin as far as budgets allow, and tells budgets what they used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .budgets.budgets import Budgets, Hold
from .budgets.estimates import Prospect, used_by
from .budgets.limits import Amount
from .config import FoundryAgentServiceConfig
from .departments import NO_DEPARTMENTS, Belonging, Departments
from .foundry.models import TurnRequest
from .state.table import Row
from .state.threads import LAST_TURN_TOKENS
from .state.turns import Beneficiary, TurnRecord
from .telemetry.audit import Caller
from .telemetry.upstream import Upstream
from .terms import PriceTable


@dataclass(frozen=True, slots=True)
class Admission:
    """What turns are measured by."""

    budgets: Budgets
    prices: PriceTable
    config: FoundryAgentServiceConfig
    departments: Departments = NO_DEPARTMENTS

    async def reserve(
        self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller
    ) -> Hold:
        """Reserve what a turn may need; on a thread, given the thread's row.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now.
            StorageUnavailableError: if nobody can tell.
        """
        if not self.budgets:
            return Hold()
        payer = self._belonging(owner, request.metadata, thread, caller).payer
        return await self.budgets.reserve(owner, payer, self._need(request, thread))

    def check(self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller) -> None:
        """See to it that a turn can ever run, however little its thread brings with it then.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
        """
        if self.budgets:
            payer = self._belonging(owner, request.metadata, thread, caller).payer
            self.budgets.check(owner, payer, self._need(request, None))

    def beneficiary(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> Beneficiary:
        """For whom a turn is, as usage says it."""
        stated = Beneficiary.of(metadata, thread)
        return replace(stated, department=self._belonging(owner, metadata, thread, caller).label)

    def _belonging(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> Belonging:
        stated = Beneficiary.of(metadata, thread).department
        return self.departments.of(owner, caller.departments, stated)

    def _need(self, request: TurnRequest, thread: Row | None) -> Amount:
        texts = (request.message, request.system_prompt or "")
        prospect = Prospect(
            model=request.model or self.config.model,
            text_bytes=sum(len(text.encode(errors="replace")) for text in texts),
            images=len(request.parts),
            history_tokens=int(thread.values.get(LAST_TURN_TOKENS, 0)) if thread else 0,
            max_tokens=request.max_tokens or self.config.max_tokens,
        )
        return prospect.need(self.prices)

    def cost(self, model: str, asked: str, upstream: Upstream) -> int | None:
        """What a turn cost as far as Foundry reported, in billionths; None if that is unknown.

        ``asked`` is the model that was asked for, unless an agent chose it.
        """
        name = None if self.config.agent_id else asked
        return self.prices.cost(model, name, upstream.usage, complete=not upstream.unreported)

    def settle(self, hold: Hold, turn: TurnRecord) -> None:
        """Tell what a turn used; budgets hear of it when the hold ends."""
        hold.spend(used_by(turn, hold.need, self.prices))
