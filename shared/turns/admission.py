"""Admits turns as far as budgets allow, and charges budgets with what turns used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..audit.trail import Caller
from ..config import FoundryAgentServiceConfig
from ..config.departments import NO_DEPARTMENTS, Belonging, Departments
from ..config.spending import PriceTable
from ..foundry.content import IMAGE
from ..foundry.errors import InvalidRequestError
from ..foundry.models import TurnRequest
from ..foundry.responses import instructions_for
from ..foundry.tools import ToolLike
from ..foundry.wire_json import JsonObject
from ..metering.budgets.budgets import Budgets, Reservation
from ..metering.budgets.limits import Amount, CostEstimate, used_by
from ..observability.upstream import Upstream
from ..state.table import Row
from ..state.threads import LAST_TURN_TOKENS
from ..state.turns import Attribution, TurnRecord
from ..text import to_json_bytes, to_utf8

ToolDefinitions = Callable[[Sequence[ToolLike]], Sequence[JsonObject]]


def no_definitions(_: Sequence[ToolLike]) -> Sequence[JsonObject]:
    """Where no tools can be asked for."""
    return ()


@dataclass(frozen=True, slots=True)
class Admission:
    """What turns are measured by."""

    budgets: Budgets
    prices: PriceTable
    config: FoundryAgentServiceConfig
    departments: Departments = NO_DEPARTMENTS
    definitions: ToolDefinitions = no_definitions
    """What tools are sent as."""

    async def reserve(
        self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller
    ) -> Reservation:
        """Reserve what a turn may need; on a thread, given the thread's row.

        Only for a turn that may begin is a schema compiled that its answer shall follow.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now.
            InvalidRequestError: if that is no schema.
            StorageUnavailableError: if the budget cannot be read.
        """
        reservation = Reservation()
        if self.budgets:
            payer = self._belonging(owner, request.metadata, thread, caller).payer
            need = self._need(request, thread)
            reservation = await self.budgets.reserve(owner, payer, need)
        try:
            if request.response_format:
                request.response_format.ready()
        except InvalidRequestError:
            await reservation.settle()
            raise
        return reservation

    def check(self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller) -> None:
        """See to it that a turn can ever run, however little its thread brings with it then.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
        """
        if self.budgets:
            payer = self._belonging(owner, request.metadata, thread, caller).payer
            self.budgets.check(owner, payer, self._need(request, None))

    def attribution(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> Attribution:
        """For whom a turn is, as usage says it."""
        stated = Attribution.of(metadata, thread)
        return replace(stated, department=self._belonging(owner, metadata, thread, caller).label)

    def _belonging(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> Belonging:
        stated = Attribution.of(metadata, thread).department
        return self.departments.of(owner, caller.departments, stated)

    def _need(self, request: TurnRequest, thread: Row | None) -> Amount:
        prospect = CostEstimate(
            model=request.model or self.config.model,
            text_bytes=self._sent_bytes(request),
            images=sum(part.get("type") == IMAGE for part in request.parts),
            history_tokens=int(thread.values.get(LAST_TURN_TOKENS, 0)) if thread else 0,
            max_tokens=request.max_tokens or self.config.max_tokens,
        )
        return prospect.need(self.prices)

    def _sent_bytes(self, request: TurnRequest) -> int:
        """How much text goes to the model beside the thread's history and images."""
        wanted = request.response_format
        documents: list[Any] = [
            request.system_prompt or instructions_for(request.domain) or "",
            wanted.to_json() if wanted else "",
            request.preceding,
            self.definitions(request.tools),
        ]
        documents += [part for part in request.parts if part.get("type") != IMAGE]
        return sum(map(len, map(to_json_bytes, documents))) + len(to_utf8(request.message))

    def cost(self, model: str, asked: str, upstream: Upstream) -> int | None:
        """What a turn cost as far as Foundry reported, in billionths; None if that is unknown.

        ``asked`` is the model that was asked for, unless an agent chose it.
        """
        name = None if self.config.agent_id else asked
        return self.prices.cost(model, name, upstream.usage, complete=not upstream.unreported)

    def charge(self, reservation: Reservation, turn: TurnRecord) -> None:
        """Note what a turn used; budgets are charged when the reservation ends."""
        reservation.spend(used_by(turn, reservation.need, self.prices))
