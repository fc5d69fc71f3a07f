"""Runs the jobs of a lane, one message after the other, until none waits.

Which message is next stands in rows that change only together with the commit of the message
before it, so a worker that dies loses at most the message it was on, and a wake-up that comes
twice finds nothing left to do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..contract import TurnOptions
from ..foundry.errors import FoundryError
from ..foundry.models import TurnResult
from ..problems import problem_from
from ..state.documents import CHUNK_BYTES
from ..state.errors import LaneBusyError, LeaseLostError, RowChangedError, RowMissingError
from ..state.jobs import Jobs, JobStatus, WaitingJob, job_change
from ..state.keys import Kind, is_id, new_id, newest_first
from ..state.lanes import Clock, Lanes, head_sequence
from ..state.table import Action, Change, Row
from ..state.turns import Inlet
from ..turns import Outcome, TurnCommand, Turns, lease_seconds
from .queue import Queues, WakeUp

MAX_ANSWERS_BYTES = 10 * CHUNK_BYTES
"""For all answers of a job together; its row can hold 1 MiB."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """The next message of the job at the head of a lane."""

    owner: str
    lane: str
    lane_row: Row
    head: WaitingJob

    @property
    def number(self) -> int:
        """Counted from 0."""
        return self.head.messages_done

    @property
    def is_last(self) -> bool:
        """Whether the job ends with this message."""
        return self.number + 1 == len(self.head.work["messages"])

    @property
    def answer_bytes(self) -> int:
        """The job's row has room for this much of each answer."""
        return MAX_ANSWERS_BYTES // len(self.head.work["messages"])

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
        )


class Runner:
    """Runs lanes."""

    def __init__(
        self,
        turns: Turns,
        jobs: Jobs,
        lanes: Lanes,
        queues: Queues,
        *,
        clock: Clock,
        turn_seconds: float,
    ) -> None:
        self._turns = turns
        self._jobs = jobs
        self._lanes = lanes
        self._queues = queues
        self._clock = clock
        self._turn_seconds = turn_seconds

    async def drain(self, wake_up: WakeUp) -> None:
        """Run what waits in a lane.

        A lane that somebody else holds is looked at again when their lease ends: by then they
        have moved on, or died.
        """
        while step := await self._next(wake_up):
            try:
                await self._run(step)
            except RowChangedError:
                self._lanes.forget(wake_up.owner, step.lane_row.row_key)
            except LaneBusyError as busy:
                await self._queues.wake(wake_up.owner, wake_up.lane, busy.retry_after)
                return
            except LeaseLostError:
                log.warning("Job %s was taken over by another worker", step.head.job_id)
                return

    async def _next(self, wake_up: WakeUp) -> Step | None:
        """The step to take now, first by what we remember of the lane, then by what it says."""
        row_key = newest_first(wake_up.lane)
        for fresh in (False, True):
            try:
                row = await self._lanes.read(wake_up.owner, row_key, fresh=fresh)
            except RowMissingError:
                return None
            if head := await self._jobs.head(wake_up.owner, wake_up.lane, row):
                return Step(wake_up.owner, wake_up.lane, row, head)
        return None

    async def _run(self, step: Step) -> None:
        turn_id = new_id(Kind.TURN)
        command = step.command(self._turn_seconds)
        starting = job_change(
            step.head.job_id, status=JobStatus.RUNNING.value, started_at=self._clock()
        )
        lease = await self._lanes.take_seen(
            step.owner,
            step.lane_row,
            turn_id,
            lease_seconds(command),
            [starting] if step.number == 0 else [],
        )

        def also_commit(outcome: Outcome) -> Sequence[Change]:
            return self._progress(step, turn_id, outcome)

        try:
            await self._turns.run_leased(turn_id, command, lease, also_commit)
        except FoundryError as error:
            log.warning("Job %s failed: %s", step.head.job_id, error.code)

    def _progress(self, step: Step, turn_id: str, outcome: Outcome) -> list[Change]:
        """What a message's end changes: the job's row, its box, and the lane's head."""
        if isinstance(outcome, FoundryError):
            problem = problem_from(outcome).to_json(outcome.request_id)
            return self._end(step, JobStatus.FAILED, problem=problem)
        done: dict[str, Any] = {
            "messages_done": step.number + 1,
            "results": {step.number: result_document(outcome, turn_id, step.answer_bytes)},
        }
        if step.is_last:
            return self._end(step, JobStatus.SUCCEEDED, **done)
        return [
            job_change(step.head.job_id, **done),
            Change(Action.MERGE, step.head.box_key, {"messages_done": step.number + 1}),
        ]

    def _end(self, step: Step, status: JobStatus, **outcome: Any) -> list[Change]:
        ended = job_change(
            step.head.job_id, status=status.value, finished_at=self._clock(), **outcome
        )
        next_head = {"job_head": head_sequence(step.lane_row) + 1}
        return [
            ended,
            Change(Action.DELETE, step.head.box_key),
            Change(Action.MERGE, step.lane_row.row_key, next_head),
        ]


def result_document(result: TurnResult, turn_id: str, most_bytes: int) -> dict[str, Any]:
    """An answer as the job's row keeps it, cut where it would not fit."""
    kept = result.content.encode()[:most_bytes].decode(errors="ignore")
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
