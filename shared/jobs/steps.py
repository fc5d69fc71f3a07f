"""Pure decisions: the next step of a lane, and the changes that each outcome makes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..audit.trail import THE_APP, Caller
from ..foundry.errors import FoundryError
from ..foundry.models import TurnRequest
from ..metering.budgets.limits import BudgetExhaustedError, BudgetTooSmallError
from ..problems import Problem, ProblemKind, problem_from
from ..state.content import hold_answer, without_answer, without_detail
from ..state.jobs import JobStatus, job_change
from ..state.json_properties import CHUNK_BYTES
from ..state.keys import Kind, is_id, outbox_key
from ..state.lanes import head_sequence
from ..state.mailbox import MORE, ORCHESTRATED, WaitingJob
from ..state.outbox import DeliveryStatus, outbox_insert
from ..state.table import Change, Operation, Row
from ..state.threads import end_of_conversation
from ..state.turns import FirstTry, TurnMode
from ..turns.command import Outcome, TurnCommand
from ..turns.documents import job_result_document
from ..turns.options import TurnOptions, turn_request
from .requests import DEFAULT_MAX_ATTEMPTS, with_more

MAX_ANSWERS_BYTES = 10 * CHUNK_BYTES
"""For all answers of a job in total; its row can hold 1 MiB."""

MAX_FAILURES = 20
"""The most failed attempts in a job's document; a job of 50 messages may have a thousand."""

MAX_UNFINISHED = 10
"""Workers that may die while they run a message before the message is assumed to be the cause."""

FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0

LANE_STOPPED_AT = "lane_stopped_at"
"""Property of a lane: jobs up to this sequence number do not run."""


@dataclass(frozen=True, slots=True)
class Run:
    """Send the step's message."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """End the job without sending the message."""

    status: JobStatus
    problem: Problem


@dataclass(frozen=True, slots=True)
class Step:
    """The next message of the job at the head of a lane."""

    owner: str
    lane: str
    lane_row: Row
    head: WaitingJob
    record_content: bool = True
    """Whether the job's row holds the text of answers and errors."""

    @property
    def number(self) -> int:
        """The number of the message, counted from 0."""
        return self.head.messages_done

    @property
    def is_last(self) -> bool:
        """Whether the job ends with this message."""
        return self.number + 1 == len(self.head.work["messages"])

    def command(self, seconds: float) -> TurnCommand:
        """The command of this step's turn."""
        options = TurnOptions.model_validate(self.head.work["options"], strict=False)  # from JSON
        return TurnCommand(
            owner=self.owner,
            request=self._request(options),
            seconds=seconds,
            thread_id=self.lane if is_id(Kind.THREAD, self.lane) else None,
            orchestrated=options.model_type is not None or self.head.work.get(ORCHESTRATED, False),
            model_type=options.model_type,
            mode=TurnMode.JOB,
            job_id=self.head.job_id,
            caller=self._caller,
            first_try=self._first_try,
        )

    def _request(self, options: TurnOptions) -> TurnRequest:
        work = self.head.work
        request = turn_request(options, work["messages"][self.number])
        if self.number:  # the first message has answered what was open
            request = replace(request, approvals=())
        return with_more(request, work.get(MORE, {}))

    @property
    def _first_try(self) -> FirstTry | None:
        """The first attempt to send the message, or None."""
        if self.head.box.values.get("tried_number") != self.number:
            return None
        return FirstTry.from_values(self.head.box.values)

    def decide(self, now: datetime) -> Run | Wait | End:
        """Decide what to do with the job now."""
        head = self.head
        if head.cancelled:
            return End(JobStatus.CANCELLED, CANCELLED)
        if head_sequence(self.lane_row) <= int(self.lane_row.values.get(LANE_STOPPED_AT, 0)):
            return End(JobStatus.CANCELLED, _LANE_STOPPED)
        if head.expires_at is not None and head.expires_at <= now and not head.begun:
            return End(JobStatus.EXPIRED, _EXPIRED)
        if head.unfinished >= MAX_UNFINISHED:
            return End(JobStatus.FAILED, _WORKERS_LOST)
        if head.not_before is not None and head.not_before > now:
            return Wait((head.not_before - now).total_seconds())
        return Run()

    def starting(self, now: datetime) -> list[Change]:
        """The changes that start the step; they fail if the job was cancelled since its read."""
        begun: dict[str, Any] = {"begun": True, "unfinished": self.head.unfinished + 1}
        if self._first_try is None:
            first_try = FirstTry(now, end_of_conversation(self.lane_row))
            begun |= {"tried_number": self.number, **first_try.to_values()}
        guard = Change(Operation.MERGE, self.head.box.row_key, begun, self.head.box.etag)
        if self.number or self.head.attempts:
            return [guard]
        started = job_change(self.head.job_id, status=JobStatus.RUNNING.value, started_at=now)
        return [guard, started]

    def finishing(self, outcome: Outcome, lane_row: Row, now: datetime) -> list[Change]:
        """The changes after the step's turn, given its outcome and the lane's current row."""
        if isinstance(outcome, FoundryError):
            return self._failed(outcome, lane_row, now)
        answer_bytes = MAX_ANSWERS_BYTES // len(self.head.work["messages"])
        answer = job_result_document(outcome, answer_bytes)
        recorded = answer if self.record_content else without_answer(answer)
        done: dict[str, Any] = {
            "messages_done": self.number + 1,
            "results": {self.number: recorded},
        }
        held = self._held(answer, now)
        if self.is_last:
            return [*self._end(JobStatus.SUCCEEDED, now, **done), *held]
        advance = {"messages_done": self.number + 1, "attempts": 0, "unfinished": 0}
        return [
            job_change(self.head.job_id, **done),
            Change(Operation.MERGE, self.head.box.row_key, advance),
            *held,
        ]

    def _held(self, answer: dict[str, Any], now: datetime) -> list[Change]:
        """The change that stores an answer until delivery, if the job's row has no texts."""
        if self.record_content or not self.head.callbacks:
            return []
        return [hold_answer(self.head.job_id, self.number, answer, now)]

    def unaffordable(
        self, error: BudgetExhaustedError | BudgetTooSmallError, lane_row: Row, now: datetime
    ) -> list[Change]:
        """The changes if a budget does not allow the step.

        The job waits until the budget resets. It fails if it expires before that, or if the whole
        budget is too small for it.
        """
        problem, expires_at = problem_from(error), self.head.expires_at
        if isinstance(error, BudgetTooSmallError):
            return self.ending(JobStatus.FAILED, problem, lane_row, now)
        if expires_at is not None and expires_at <= error.resets_at and not self.head.begun:
            return self.ending(JobStatus.FAILED, problem, lane_row, now)
        later = {"not_before": error.resets_at}
        return [
            job_change(self.head.job_id, problem=problem.to_json()),
            Change(Operation.MERGE, self.head.box.row_key, later, self.head.box.etag),
        ]

    @property
    def _caller(self) -> Caller:
        """The caller who submitted the job."""
        caller = self.head.work.get("caller")
        return Caller.from_json(caller) if caller else THE_APP

    @property
    def _max_attempts(self) -> int:
        return int(self.head.work.get("max_attempts", DEFAULT_MAX_ATTEMPTS))

    def _failed(self, error: FoundryError, lane_row: Row, now: datetime) -> list[Change]:
        """The changes after a failed attempt: the message is tried again, or the job ends."""
        problem, attempts = problem_from(error), self.head.attempts + 1
        document = problem.to_json(error.request_id)
        if not self.record_content:
            document = without_detail(document)
        failure = {"message": self.number, "at": now.isoformat(), **document}
        failed: dict[str, Any] = {
            "attempts": self.head.attempts_in_all + 1,
            "failures": json.dumps([*self.head.failures, failure][-MAX_FAILURES:]),
        }
        if attempts >= self._max_attempts or attempts > error.treatment.job_repeats:
            return self._abort(JobStatus.FAILED, lane_row, now, problem=document, **failed)
        backoff = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), MAX_RETRY_SECONDS)
        pause = max(problem.retry_after or 0.0, backoff * random.uniform(0.5, 1.0))  # noqa: S311
        retry = {
            "attempts": attempts,
            "attempts_in_all": failed["attempts"],
            "failures": failed["failures"],
            "unfinished": 0,
            "not_before": now + timedelta(seconds=pause),
        }
        return [
            job_change(self.head.job_id, **failed),
            Change(Operation.MERGE, self.head.box.row_key, retry),
        ]

    def ending(
        self, status: JobStatus, problem: Problem, lane_row: Row, now: datetime
    ) -> list[Change]:
        """The changes that end the job without a turn; they fail if it was cancelled meanwhile."""
        box, etag = self.head.box.row_key, self.head.box.etag
        if self.head.has_ended:
            return [Change(Operation.DELETE, box, etag=etag), self._next_head, *self._asked(now)]
        changes = self._abort(status, lane_row, now, problem=problem.to_json())
        return [replace(each, etag=etag) if each.row_key == box else each for each in changes]

    @property
    def _next_head(self) -> Change:
        """The change that makes the next job the head of the lane."""
        next_head = {"job_head": head_sequence(self.lane_row) + 1}
        return Change(Operation.MERGE, self.lane_row.row_key, next_head)

    def _abort(
        self, status: JobStatus, lane_row: Row, now: datetime, **values: Any
    ) -> list[Change]:
        changes = self._end(status, now, **values)
        if status is JobStatus.FAILED and self.head.stops_lane:
            stop = {LANE_STOPPED_AT: int(lane_row.values.get("job_tail", 0))}
            changes.append(Change(Operation.MERGE, self.lane_row.row_key, stop))
        return changes

    def _end(self, status: JobStatus, now: datetime, **outcome: Any) -> list[Change]:
        ended: dict[str, Any] = {"status": status.value, "finished_at": now, **outcome}
        delivery: list[Change] = []
        if callbacks := self.head.callbacks:
            ended["delivery"] = DeliveryStatus.PENDING.value
            delivery.append(outbox_insert(self.head.job_id, callbacks, now))
        return [
            job_change(self.head.job_id, **ended),
            Change(Operation.DELETE, self.head.box.row_key),
            self._next_head,
            *self._asked(now),
            *delivery,
        ]

    def _asked(self, now: datetime) -> list[Change]:
        """The change that keeps what was asked, where texts are recorded and it can be read."""
        is_kept = self.record_content and self.head.work
        return [self.head.asked(now)] if is_kept else []

    def is_delivered_after(self, changes: Sequence[Change]) -> bool:
        """Whether changes of the step start the delivery of the job's result."""
        return any(change.row_key == outbox_key(self.head.job_id) for change in changes)


CANCELLED = Problem(ProblemKind.CANCELLED, "The job was cancelled before it was completed.")
_LANE_STOPPED = Problem(
    ProblemKind.LANE_STOPPED, "An earlier job of the thread failed and had stop_lane_on_failure."
)
_EXPIRED = Problem(ProblemKind.EXPIRED, "The job expired before it started.")


_WORKERS_LOST = Problem(
    ProblemKind.WORKER_LOST,
    f"{MAX_UNFINISHED} workers in a row died while they ran the message of the job.",
)
