"""Measures turns and records them: the row, the audit records and the metrics of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import TypeAlias, TypeVar

from ..audit.trail import AuditTrail, Caller, turn_records
from ..foundry.errors import FoundryError
from ..foundry.models import TurnResult
from ..metering.budgets.budgets import Reservation
from ..metering.meter import Meter
from ..observability.upstream import Upstream, counted
from ..state.errors import StateError
from ..state.table import Change
from ..state.turns import TurnEffort, TurnRecord, TurnStatus
from .admission import Admission

ModelOutcome = TurnResult | FoundryError
"""The answer of a model, or the error if there is none."""

MAX_RECORDS_IN_COMMIT = 60
"""Of a turn's audit records; a transaction takes 100 rows, and a turn may call more tools."""

_T = TypeVar("_T")

Write: TypeAlias = Callable[[Sequence[Change]], Awaitable[_T]]
"""Commits a turn, in one transaction with more changes."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The measurements of a turn while it runs."""

    upstream: Upstream
    received_at: float
    """When work on it began, by this machine's performance counter."""
    reservation: Reservation
    """The reservation in its owner's budgets."""
    started: float = field(default_factory=perf_counter)
    """When it started to run, after admission and lease, by the same counter."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Completes the records of turns, and writes them."""

    audit: AuditTrail
    meter: Meter
    admission: Admission
    content: bool
    """Whether rows hold the text of questions, answers and errors."""

    @contextmanager
    def watching(
        self, owner: str, received_at: float, reservation: Reservation
    ) -> Generator[Watch]:
        """Measure an owner's turn that runs in the block."""
        with counted() as upstream, self.meter.running(owner):
            yield Watch(upstream, received_at, reservation)

    def ended(self, begun: TurnRecord, outcome: ModelOutcome, watch: Watch) -> TurnRecord:
        """Complete the record of a turn with its outcome, and charge its usage."""
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

    async def commit(
        self, write: Write[_T], record: TurnRecord, outcome: ModelOutcome, caller: Caller
    ) -> _T:
        """Write a turn's audit records in the transaction of ``write``, and return its result.

        If the transaction fails, they are written as failures, in a transaction of their own.
        """
        calls = outcome.tool_calls if isinstance(outcome, TurnResult) else ()
        records = self.audit.keyed(turn_records(record, caller, calls))
        together = dict(islice(records.items(), MAX_RECORDS_IN_COMMIT))
        try:
            written = await write(self.audit.inserts(together))
        except StateError as error:
            await self.audit.insert_failed(records, error.code)
            raise
        if rest := {key: each for key, each in records.items() if key not in together}:
            await self.audit.insert(rest)
        self.meter.record(record)
        return written
