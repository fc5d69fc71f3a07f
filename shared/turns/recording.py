"""Measures turns and records them: the row, the audit records and the metrics of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

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
        upstream, now = watch.upstream, perf_counter()
        model, tool_calls = begun.model, 0
        if isinstance(outcome, FoundryError):
            ended: dict[str, Any] = {
                "error_code": outcome.code,
                "error": outcome.message if self.content else None,
            }
        else:
            model, tool_calls = outcome.model or model, len(outcome.tool_calls)
            ended = {
                "status": TurnStatus.SUCCEEDED,
                "model": model,
                "agent_id": outcome.agent_id,
                "answer": outcome.content if self.content else None,
                "finish_reason": outcome.finish_reason.value,
                "tools_used": outcome.tools_used,
                "response_id": outcome.response_id,
            }
        effort = TurnEffort(
            overhead=max(now - watch.received_at - upstream.seconds, 0.0),
            tool_calls=tool_calls,
            unreported=upstream.unreported,
            cost=self.admission.cost(model, begun.model, upstream),
            **upstream.events(),
        )
        record = replace(
            begun,
            latency=now - watch.started,
            question=begun.question if self.content else None,
            request_id=outcome.request_id,
            usage=upstream.usage,
            responses=tuple(upstream.responses),
            effort=effort,
            **ended,
        )
        self.admission.charge(watch.reservation, record)
        return record

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
