"""Admits turns, and records them: the row, the audit records and the metrics of each."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TypeVar

from ..audit.trail import AuditTrail, Caller, turn_records
from ..foundry.errors import FoundryError
from ..foundry.models import TurnResult
from ..metering.budgets.budgets import Reservation
from ..metering.meter import Meter
from ..observability.upstream import Upstream, counted
from ..state.turns import TurnEffort, TurnRecord, TurnStatus
from .admission import Admission

ModelOutcome = TurnResult | FoundryError
"""What a model answered, or why no model did."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Watch:
    """What is measured of a turn while it runs."""

    upstream: Upstream
    received_at: float
    """When work on it began, by this machine's performance counter."""
    reservation: Reservation
    """Of its owner's budgets."""
    started: float = field(default_factory=perf_counter)
    """When it had what it needs to run, by the same."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Completes records and writes them."""

    audit: AuditTrail
    meter: Meter
    admission: Admission
    content: bool
    """Whether rows hold the text of questions, answers and errors."""

    @contextmanager
    def watching(
        self, owner: str, received_at: float, reservation: Reservation
    ) -> Generator[Watch]:
        """Watch a turn of an owner that runs in the block."""
        with counted() as upstream, self.meter.running(owner):
            yield Watch(upstream, received_at, reservation)

    def ended(self, begun: TurnRecord, outcome: ModelOutcome, watch: Watch) -> TurnRecord:
        """The record of a turn that was ``begun``, completed by how it ended.

        Its reservation notes what it used.
        """
        record = self._completed(begun, outcome, watch)
        self.admission.charge(watch.reservation, record)
        return record

    def _completed(self, begun: TurnRecord, outcome: ModelOutcome, watch: Watch) -> TurnRecord:
        record = replace(
            begun,
            latency=perf_counter() - watch.started,
            question=begun.question if self.content else None,
            request_id=outcome.request_id,
            usage=watch.upstream.usage,
            responses=tuple(watch.upstream.responses),
        )
        if isinstance(outcome, FoundryError):
            error = outcome.message if self.content else None
            failed = replace(record, error_code=outcome.code, error=error)
            return replace(failed, effort=self._effort(failed, begun.model, watch))
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
        effort = self._effort(succeeded, begun.model, watch)
        return replace(succeeded, effort=replace(effort, tool_calls=len(outcome.tool_calls)))

    def _effort(self, record: TurnRecord, asked: str, watch: Watch) -> TurnEffort:
        upstream = watch.upstream
        return TurnEffort(
            overhead=perf_counter() - watch.received_at - upstream.seconds,
            unreported=upstream.unreported,
            cost=self.admission.cost(record.model, asked, upstream),
            **upstream.events(),
        )

    async def alongside(
        self, write: Awaitable[_T], record: TurnRecord, outcome: ModelOutcome, caller: Caller
    ) -> _T:
        """Put a turn on the audit trail while its row is written, and return what that gives."""
        calls = outcome.tool_calls if isinstance(outcome, TurnResult) else ()
        written = await self.audit.alongside(write, *turn_records(record, caller, calls))
        self.meter.record(record)
        return written
