"""Lets turns begin as far as budgets allow, and tells budgets what they used."""

from __future__ import annotations

from dataclasses import dataclass

from .budgets.budgets import Budgets, Hold
from .budgets.estimates import Prospect, used_by
from .config import FoundryAgentServiceConfig
from .foundry.models import TurnRequest
from .state.table import Row
from .state.threads import LAST_TURN_TOKENS
from .state.turns import Beneficiary, TurnRecord
from .telemetry.upstream import Upstream
from .terms import PriceTable


@dataclass(frozen=True, slots=True)
class Admission:
    """What turns are measured by."""

    budgets: Budgets
    prices: PriceTable
    config: FoundryAgentServiceConfig

    async def reserve(self, owner: str, request: TurnRequest, thread: Row | None) -> Hold:
        """Reserve what a turn may need; on a thread, given the thread's row.

        Raises:
            BudgetExhaustedError: if a budget does not allow it.
            StorageUnavailableError: if nobody can tell.
        """
        if not self.budgets:
            return Hold()
        department = Beneficiary.of(request.metadata, thread).department
        texts = (request.message, request.system_prompt or "")
        prospect = Prospect(
            model=request.model or self.config.model,
            text_bytes=sum(len(text.encode(errors="replace")) for text in texts),
            images=len(request.parts),
            history_tokens=int(thread.values.get(LAST_TURN_TOKENS, 0)) if thread else 0,
            max_tokens=request.max_tokens or self.config.max_tokens,
        )
        return await self.budgets.reserve(owner, department, prospect.need(self.prices))

    def cost(self, model: str, asked: str, upstream: Upstream) -> int | None:
        """What a turn cost as far as Foundry reported, in billionths; None if that is unknown.

        ``asked`` is the model that was asked for, unless an agent chose it.
        """
        name = None if self.config.agent_id else asked
        return self.prices.cost(model, name, upstream.usage, complete=not upstream.unreported)

    def settle(self, hold: Hold, turn: TurnRecord) -> None:
        """Tell what a turn used; budgets hear of it when the hold ends."""
        hold.spend(used_by(turn, hold.need, self.prices))
