"""What is kept of every turn: its row, its audit records, and the figures it adds to."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TypeVar

from .foundry.errors import FoundryError
from .foundry.models import TurnResult
from .state.turns import TurnEffort, TurnRecord, TurnStatus
from .telemetry.audit import AuditTrail, Caller, turn_records
from .telemetry.meter import Meter
from .telemetry.upstream import Upstream, counted
from .terms import PriceTable

Outcome = TurnResult | FoundryError
"""How a turn ended."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Watch:
    """What is seen of a turn while it runs."""

    upstream: Upstream
    taken_up: float
    """When work on it began, by this machine's performance counter."""
    started: float = field(default_factory=perf_counter)
    """When it had what it needs to run, by the same."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Completes records and writes them."""

    audit: AuditTrail
    meter: Meter
    prices: PriceTable
    content: bool
    """Whether turn rows hold the text of questions and answers."""

    @contextmanager
    def watching(self, owner: str, taken_up: float) -> Generator[Watch]:
        """Watch a turn of an owner that runs in the block."""
        with counted() as upstream, self.meter.running(owner):
            yield Watch(upstream, taken_up)

    def ended(self, begun: TurnRecord, outcome: Outcome, watch: Watch) -> TurnRecord:
        """The record of a turn that was ``begun``, completed by how it ended."""
        record = replace(
            begun,
            latency=perf_counter() - watch.started,
            question=begun.question if self.content else None,
            request_id=outcome.request_id,
            usage=watch.upstream.usage,
        )
        if isinstance(outcome, FoundryError):
            failed = replace(record, error_code=outcome.code, error=outcome.message)
            return replace(failed, effort=self._effort(failed, watch))
        succeeded = replace(
            record,
            status=TurnStatus.SUCCEEDED,
            model=outcome.model or record.model,
            agent_id=outcome.agent_id,
            answer=outcome.content if self.content else None,
            finish_reason=outcome.finish_reason.value,
            tools_used=outcome.tools_used,
            response_id=outcome.response_id,
        )
        effort = self._effort(succeeded, watch)
        return replace(succeeded, effort=replace(effort, tool_calls=len(outcome.tool_calls)))

    def _effort(self, record: TurnRecord, watch: Watch) -> TurnEffort:
        upstream = watch.upstream
        complete = not upstream.unreported
        return TurnEffort(
            overhead=perf_counter() - watch.taken_up - upstream.seconds,
            retries=upstream.retries,
            reconciliations=upstream.reconciliations,
            rate_limit_waits=upstream.rate_limit_waits,
            unreported=upstream.unreported,
            cost=self.prices.cost(record.model, upstream.usage, complete=complete),
        )

    async def alongside(
        self, write: Awaitable[_T], record: TurnRecord, outcome: Outcome, caller: Caller
    ) -> _T:
        """Put a turn on the audit trail while its row is written, and return what that gives."""
        calls = outcome.tool_calls if isinstance(outcome, TurnResult) else ()
        written = await self.audit.alongside(write, *turn_records(record, caller, calls))
        self.meter.record(record)
        return written
