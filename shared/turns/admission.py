"""Admits turns if the budgets allow them, and charges their usage to the budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..audit.trail import Caller
from ..config import FoundryAgentServiceConfig
from ..config.departments import NO_DEPARTMENTS, Departments, TurnDepartment
from ..config.spending import PriceTable
from ..foundry.client_calls import answer_items, check_said
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
    """The definitions of tools in a program that offers none."""
    return ()


@dataclass(frozen=True, slots=True)
class Admission:
    """Reserves budget for turns, and computes what they cost."""

    budgets: Budgets
    prices: PriceTable
    config: FoundryAgentServiceConfig
    departments: Departments = NO_DEPARTMENTS
    definitions: ToolDefinitions = no_definitions
    """Returns the JSON of the tools that a request names."""

    async def reserve(
        self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller
    ) -> Reservation:
        """Reserve what a turn may need; ``thread`` is the row of its thread, if it has one.

        The schema of its response format is compiled after that, so a turn over budget costs no
        compilation.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
            BudgetExhaustedError: if a budget does not allow it now.
            InvalidRequestError: if it says nothing, its outputs are too long, or the schema of its
                response format is invalid.
            StorageUnavailableError: if the budget cannot be read.
        """
        check_said(request)
        reservation = Reservation()
        if self._has_limits(caller):
            payer = self._department(owner, request.metadata, thread, caller).payer
            need = self._need(request, thread)
            reservation = await self.budgets.reserve(owner, payer, need, caller.terms)
        try:
            if request.response_format:
                request.response_format.ready()
        except InvalidRequestError:
            await reservation.settle()
            raise
        return reservation

    def check(self, owner: str, request: TurnRequest, thread: Row | None, caller: Caller) -> None:
        """Check that a turn fits into its whole budgets, without the history of its thread.

        Raises:
            BudgetTooSmallError: if it may need more than a whole budget.
        """
        if self._has_limits(caller):
            payer = self._department(owner, request.metadata, thread, caller).payer
            self.budgets.check(owner, payer, self._need(request, None), caller.terms)

    def _has_limits(self, caller: Caller) -> bool:
        """Whether a turn of the caller may have a budget, for which its need is estimated."""
        return bool(self.budgets or (caller.terms and caller.terms.budgets))

    def attribution(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> Attribution:
        """The user, department, client key and face that usage attributes a turn to."""
        stated = Attribution.of(metadata, thread)
        belonging = self.departments.of(owner, caller.departments, stated.department)
        key_id = caller.terms.key_id if caller.terms else None
        return Attribution(belonging.label, stated.user_id, key_id, caller.face)

    def _department(
        self, owner: str, metadata: Mapping[str, str], thread: Row | None, caller: Caller
    ) -> TurnDepartment:
        stated = Attribution.of(metadata, thread).department
        return self.departments.of(owner, caller.departments, stated)

    def _need(self, request: TurnRequest, thread: Row | None) -> Amount:
        estimate = CostEstimate(
            model=request.model or self.config.model,
            text_bytes=self._sent_bytes(request),
            images=sum(part.get("type") == IMAGE for part in request.parts),
            history_tokens=int(thread.values.get(LAST_TURN_TOKENS, 0)) if thread else 0,
            max_tokens=request.max_tokens or self.config.max_tokens,
        )
        return estimate.need(self.prices)

    def _sent_bytes(self, request: TurnRequest) -> int:
        """The bytes of text that are sent to the model, without the thread's history and images."""
        wanted = request.response_format
        documents: list[Any] = [
            request.system_prompt or instructions_for(request.domain) or "",
            wanted.to_json() if wanted else "",
            request.preceding,
            self.definitions(request.tools),
            request.client_tools.definitions if request.client_tools else "",
            answer_items(request),
        ]
        documents += [part for part in request.parts if part.get("type") != IMAGE]
        return sum(map(len, map(to_json_bytes, documents))) + len(to_utf8(request.message))

    def cost(self, model: str, asked: str, upstream: Upstream) -> int | None:
        """The cost of the tokens that were reported for a turn, in billionths; None if unknown.

        ``asked`` is the model that was requested; an agent has its own, so it is ignored then.
        """
        name = None if self.config.asks_agent else asked
        return self.prices.cost(model, name, upstream.usage, complete=not upstream.unreported)

    def charge(self, reservation: Reservation, turn: TurnRecord) -> None:
        """Set what a turn used; budgets are charged when the reservation is settled."""
        if reservation.is_empty:
            return
        reservation.spend(used_by(turn, reservation.need, self.prices))
