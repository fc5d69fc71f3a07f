"""What to do next in a lane, and what each outcome changes: decisions without side effects."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..contract import DEFAULT_MAX_ATTEMPTS, TurnOptions
from ..foundry.errors import (
    FoundryError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
)
from ..foundry.models import TurnResult
from ..problems import Problem, problem_from
from ..recording import Outcome
from ..state.documents import CHUNK_BYTES
from ..state.jobs import JobStatus, WaitingJob, job_change
from ..state.keys import Kind, is_id, outbox_key
from ..state.lanes import head_sequence
from ..state.outbox import DeliveryStatus, outbox_insert
from ..state.table import Action, Change, Row
from ..state.threads import end_of_conversation
from ..state.turns import FirstTry, Inlet
from ..telemetry.audit import THE_APP, Caller
from ..turns import TurnCommand

MAX_ANSWERS_BYTES = 10 * CHUNK_BYTES
"""For all answers of a job together; its row can hold 1 MiB."""

FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0

LANE_STOPPED_AT = "lane_stopped_at"
"""Property of a lane: jobs up to this sequence do not run."""

_PASSING = (
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
)
"""Failures that may be over when the job is tried again; all others end it."""


@dataclass(frozen=True, slots=True)
class Run:
    """Send the step's message."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """The job ends without sending."""

    status: JobStatus
    problem: Problem


@dataclass(frozen=True, slots=True)
class Step:
    """The next message of the job at the head of a lane."""

    owner: str
    lane: str
    lane_row: Row
    head: WaitingJob

    @property
    def number(self) -> int:
        """Of the message, counted from 0."""
        return self.head.messages_done

    @property
    def is_last(self) -> bool:
        """Whether the job ends with this message."""
        return self.number + 1 == len(self.head.work["messages"])

    def command(self, seconds: float) -> TurnCommand:
        """The turn that this step is."""
        options = TurnOptions.model_validate(self.head.work["options"])
        return TurnCommand(
            owner=self.owner,
            request=options.turn_request(self.head.work["messages"][self.number]),
            seconds=seconds,
            thread_id=self.lane if is_id(Kind.THREAD, self.lane) else None,
            inlet=Inlet.JOB,
            job_id=self.head.job_id,
            caller=self._caller,
            first_try=self._first_try,
        )

    @property
    def _first_try(self) -> FirstTry | None:
        """When the message was tried first, if it was."""
        if self.head.box.values.get("tried_number") != self.number:
            return None
        return FirstTry.from_values(self.head.box.values)

    def decide(self, now: datetime) -> Run | Wait | End:
        """What to do with the job now."""
        head = self.head
        if head.cancelled:
            return End(JobStatus.CANCELLED, _CANCELLED)
        if head_sequence(self.lane_row) <= int(self.lane_row.values.get(LANE_STOPPED_AT, 0)):
            return End(JobStatus.CANCELLED, _LANE_STOPPED)
        if head.expires_at is not None and head.expires_at <= now and not head.begun:
            return End(JobStatus.EXPIRED, _EXPIRED)
        if head.not_before is not None and head.not_before > now:
            return Wait((head.not_before - now).total_seconds())
        return Run()

    def starting(self, now: datetime) -> list[Change]:
        """What beginning the step changes; fails if the job was cancelled since it was read."""
        begun: dict[str, Any] = {"begun": True}
        if self._first_try is None:
            first_try = FirstTry(now, end_of_conversation(self.lane_row))
            begun |= {"tried_number": self.number, **first_try.to_values()}
        guard = Change(Action.MERGE, self.head.box.row_key, begun, self.head.box.etag)
        if self.number or self.head.attempts:
            return [guard]
        started = job_change(self.head.job_id, status=JobStatus.RUNNING.value, started_at=now)
        return [guard, started]

    def finishing(
        self, turn_id: str, outcome: Outcome, lane_row: Row, now: datetime
    ) -> list[Change]:
        """What the outcome of the step's turn changes, given the lane's row as it stands then."""
        if isinstance(outcome, FoundryError):
            problem = problem_from(outcome)
            if isinstance(outcome, _PASSING) and self.head.attempts + 1 < self._max_attempts:
                return self._try_again(problem, now, outcome.request_id)
            return self.ending(JobStatus.FAILED, problem, lane_row, now, outcome.request_id)
        answer_bytes = MAX_ANSWERS_BYTES // len(self.head.work["messages"])
        done: dict[str, Any] = {
            "messages_done": self.number + 1,
            "results": {self.number: _result_document(outcome, turn_id, answer_bytes)},
        }
        if self.is_last:
            return self._end(JobStatus.SUCCEEDED, now, **done)
        advance = {"messages_done": self.number + 1, "attempts": 0}
        return [
            job_change(self.head.job_id, **done),
            Change(Action.MERGE, self.head.box.row_key, advance),
        ]

    @property
    def _caller(self) -> Caller:
        """Who submitted the job."""
        caller = self.head.work.get("caller")
        return Caller.from_json(caller) if caller else THE_APP

    @property
    def _max_attempts(self) -> int:
        return int(self.head.work.get("max_attempts", DEFAULT_MAX_ATTEMPTS))

    def _try_again(self, problem: Problem, now: datetime, request_id: str | None) -> list[Change]:
        attempts = self.head.attempts + 1
        backoff = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), MAX_RETRY_SECONDS)
        pause = max(problem.retry_after or 0.0, backoff * random.uniform(0.5, 1.0))  # noqa: S311
        retry = {"attempts": attempts, "not_before": now + timedelta(seconds=pause)}
        return [
            job_change(self.head.job_id, attempts=attempts, problem=problem.to_json(request_id)),
            Change(Action.MERGE, self.head.box.row_key, retry),
        ]

    def ending(
        self,
        status: JobStatus,
        problem: Problem,
        lane_row: Row,
        now: datetime,
        request_id: str | None = None,
    ) -> list[Change]:
        """What the job's end without an answer changes."""
        changes = self._end(status, now, problem=problem.to_json(request_id))
        if status is JobStatus.FAILED and self.head.work.get("stop_lane_on_failure"):
            stop = {LANE_STOPPED_AT: int(lane_row.values.get("job_tail", 0))}
            changes.append(Change(Action.MERGE, self.lane_row.row_key, stop))
        return changes

    def _end(self, status: JobStatus, now: datetime, **outcome: Any) -> list[Change]:
        next_head = {"job_head": head_sequence(self.lane_row) + 1}
        ended: dict[str, Any] = {"status": status.value, "finished_at": now, **outcome}
        told: list[Change] = []
        if outlets := self.head.work.get("outlets"):
            ended["delivery"] = DeliveryStatus.PENDING.value
            told.append(outbox_insert(self.head.job_id, outlets, now))
        return [
            job_change(self.head.job_id, **ended),
            Change(Action.DELETE, self.head.box.row_key),
            Change(Action.MERGE, self.lane_row.row_key, next_head),
            *told,
        ]

    def is_told_by(self, changes: Sequence[Change]) -> bool:
        """Whether changes that the step made have the job's end told."""
        return any(change.row_key == outbox_key(self.head.job_id) for change in changes)


_CANCELLED = Problem(409, "cancelled", "The job was cancelled before it was done.")
_LANE_STOPPED = Problem(409, "lane_stopped", "An earlier job of the thread failed and stopped it.")
_EXPIRED = Problem(410, "expired", "The job did not begin before it expired.")


def _result_document(result: TurnResult, turn_id: str, most_bytes: int) -> dict[str, Any]:
    """An answer as the job's row keeps it, cut where it would not fit."""
    kept = result.content
    while len(json.dumps(kept, ensure_ascii=False).encode(errors="replace")) > most_bytes:
        kept = kept[: len(kept) * 4 // 5]
    return {
        "turn_id": turn_id,
        "content": kept,
        "truncated": len(kept) < len(result.content),
        "finish_reason": result.finish_reason.value,
        "model": result.model,
        "agent_id": result.agent_id,
        "tools_used": list(result.tools_used),
        "usage": result.usage,
    }
