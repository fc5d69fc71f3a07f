"""What is kept of every turn: its row, and its records in the audit trail."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

from .foundry.errors import FoundryError
from .foundry.models import TurnResult
from .state.turns import TurnRecord, TurnStatus
from .telemetry.audit import AuditTrail, Caller, turn_records

Outcome = TurnResult | FoundryError
"""How a turn ended."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recording:
    """Completes records and writes them."""

    audit: AuditTrail
    content: bool
    """Whether turn rows hold the text of questions and answers."""

    def ended(self, begun: TurnRecord, outcome: Outcome, latency: float) -> TurnRecord:
        """The record of a turn that was ``begun``, completed by how it ended."""
        record = replace(
            begun,
            latency=latency,
            question=begun.question if self.content else None,
            request_id=outcome.request_id,
        )
        if isinstance(outcome, FoundryError):
            return replace(record, error_code=outcome.code, error=outcome.message)
        return replace(
            record,
            status=TurnStatus.SUCCEEDED,
            model=outcome.model or record.model,
            agent_id=outcome.agent_id,
            answer=outcome.content if self.content else None,
            finish_reason=outcome.finish_reason.value,
            tools_used=outcome.tools_used,
            usage=outcome.usage,
            response_id=outcome.response_id,
        )

    async def alongside(
        self, write: Awaitable[_T], record: TurnRecord, outcome: Outcome, caller: Caller
    ) -> _T:
        """Put a turn on the audit trail while its row is written, and return what that gives."""
        calls = outcome.tool_calls if isinstance(outcome, TurnResult) else ()
        return await self.audit.alongside(write, *turn_records(record, caller, calls))
