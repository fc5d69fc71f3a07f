"""Runs the jobs of a lane, one message after the other, until no job waits.

The rows that name the next message change only in the transaction that commits the previous one. So
a worker that dies loses at most the message that it was running, and a duplicate wake-up has no
effect.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

from ..config import JobSettings
from ..foundry.errors import FoundryError, InvalidRequestError
from ..metering.budgets.budgets import Reservation
from ..metering.budgets.limits import BudgetExhaustedError, BudgetTooSmallError
from ..observability.logs import described, log_ids
from ..problems import INTERNAL_ERROR, ProblemError, problem_from
from ..state.contention import Contention
from ..state.errors import (
    LaneBusyError,
    LeaseLostError,
    RowChangedError,
    RowMissingError,
    StorageUnavailableError,
)
from ..state.jobs import Jobs, JobStatus
from ..state.keys import Kind, new_id, newest_first
from ..state.lanes import UNSETTLED, Clock, Lanes, has_waiting
from ..state.table import Change, Row
from ..turns.command import Outcome, TurnCommand
from ..turns.pipeline import Turns
from . import job_spans as spans
from .queue import Notice, Queues, WakeUp
from .shares import Shares
from .steps import End, Run, Step, Wait

log = logging.getLogger(__name__)

STORAGE_PAUSE_SECONDS = 30.0
"""The pause of a lane while storage is unavailable, on average; it does not count as an attempt.
Lanes that were refused together do not come back together."""

INVOCATION_SECONDS = 30.0
"""How long one queue message may start turns. With the longest turn added, this is less than
functionTimeout in host.json."""


class UnrunnableError(Exception):
    """A step of a job failed unexpectedly; the text of its cause may quote messages."""

    def __init__(self, step: Step) -> None:
        super().__init__(f"Job {step.head.job_id} cannot be run.")
        self.step = step


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
        settings: JobSettings,
    ) -> None:
        self._turns = turns
        self._jobs = jobs
        self._lanes = lanes
        self._queues = queues
        self._clock = clock
        self._turn_seconds = settings.turn_timeout
        self._queue = settings.lanes_queue
        self.shares = Shares(settings.lanes_per_owner)

    async def receive(self, body: bytes, *, deliveries: int = 1) -> None:
        """Process a message of the lanes queue; ``deliveries`` counts this delivery, too.

        A message that failed before is not parked, because the queue counts its deliveries.
        """
        try:
            wake_up = WakeUp.parse(body)
        except ValueError:
            log.error("A message on %s is not a wake-up, moved to poison", self._queue)  # noqa: TRY400
            await self._queues.reject(self._queue, body)
            return
        if deliveries > 1 or self.shares.admits(wake_up.owner):
            await self._work(wake_up)
        else:
            await self._park(wake_up)

    async def _work(self, wake_up: WakeUp) -> None:
        """Run a lane, then parked lanes until the time is over."""
        until = self.shares.now() + INVOCATION_SECONDS
        await self.drain(wake_up, until)
        while parked := self.shares.next_parked():
            try:
                if self.shares.now() >= until:
                    await self._queues.wake(parked.owner, parked.lane)
                    return
                await self.drain(parked, until)
            except (UnrunnableError, StorageUnavailableError) as error:
                log.warning("Lane %s failed; its own message retries it: %s", parked.lane, error)
                return

    async def _park(self, wake_up: WakeUp) -> None:
        """Put a wake-up back on the queue; the current message is then processed."""
        if not (seconds := self.shares.park(wake_up)):
            return
        try:
            await self._queues.wake(wake_up.owner, wake_up.lane, seconds)
        except BaseException:
            self.shares.forget(wake_up)
            raise

    async def receive_poison(self, body: bytes) -> None:
        """Process a wake-up that failed too often: end the job that fails, run the others."""
        try:
            wake_up = WakeUp.parse(body)
        except ValueError:
            log.error("A message of %d bytes is not a wake-up and is dropped", len(body))  # noqa: TRY400
        else:
            await self._drain_past_failures(wake_up)

    async def drain(self, wake_up: WakeUp, until: float | None = None) -> None:
        """Run the waiting jobs of a lane, and schedule a wake-up for the rest.

        No turn starts after ``until``, a time of the clock `Shares.now`.

        A lane that another worker has leased gets a wake-up for the end of that lease, in case the
        worker has died.

        Raises:
            StorageUnavailableError: if no wake-up could be scheduled.
            UnrunnableError: if a job fails unexpectedly; the queue tries again.
        """
        until = until or self.shares.now() + INVOCATION_SECONDS
        try:
            with self.shares.running(wake_up) as started:
                pause = await self._drain(wake_up, started, until)
        except LaneBusyError as busy:
            pause = busy.retry_after
        except LeaseLostError:
            log.warning("Lane %s was taken over by another worker", wake_up.lane)
            return
        except StorageUnavailableError as error:
            log.warning("Lane %s is postponed: %s", wake_up.lane, error)
            pause = STORAGE_PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        if pause:
            await self._queues.wake(wake_up.owner, wake_up.lane, pause)

    async def _drain(self, wake_up: WakeUp, started: float, until: float) -> float:
        """Run a lane until it is empty or parked; returns 0, or in how many seconds to continue."""
        is_first, contention = True, Contention("the lane")
        while step := await self._next(wake_up, fresh=is_first):
            if not is_first and self.shares.must_yield(wake_up.owner, started, until):
                await self._park(wake_up)
                return 0.0
            is_first = False
            try:
                match step.decide(self._clock()):
                    case Run():
                        await self._traced_run(step)
                    case Wait(seconds):
                        return seconds
                    case End(status, problem):
                        ending = step.ending(status, problem, step.lane_row, self._clock())
                        await self._lanes.write_seen(step.owner, step.lane_row, {}, ending)
                        await self._notify(step, ending)
                contention = Contention("the lane")
            except RowChangedError as error:
                self._lanes.forget(wake_up.owner, step.lane_row.row_key)
                await contention.pause(error)
            except (LaneBusyError, LeaseLostError, StorageUnavailableError):
                raise
            except Exception as error:  # the border of a job: names the job for the poison trigger
                raise UnrunnableError(step) from error
        return 0.0

    async def _next(self, wake_up: WakeUp, *, fresh: bool) -> Step | None:
        """The next step of a lane, by its cached row or, if that has none, its stored row.

        If this process was the last writer, the cached row is enough: a later writer of the lane
        also sends a wake-up.
        """
        row_key = newest_first(wake_up.lane)
        for again in (False, True):
            try:
                row = await self._lanes.read(wake_up.owner, row_key, fresh=again)
            except RowMissingError:
                return None
            if head := await self._jobs.head(wake_up.owner, wake_up.lane, row):
                return Step(wake_up.owner, wake_up.lane, row, head, self._turns.record_content)
            if not fresh and not has_waiting(row):
                return None
        return None

    async def _traced_run(self, step: Step) -> None:
        """Run a step within the trace of the job's submission."""
        head = step.head
        with spans.run(self._queue, head.job_id, head.work), log_ids(job_id=head.job_id):
            await self._run(step)

    async def _run(self, step: Step) -> None:
        try:
            command = step.command(self._turn_seconds)
            reservation = await self._turns.admit(command, step.lane_row)
        except (InvalidRequestError, ProblemError) as error:  # valid at submission, but not now
            problem = problem_from(error)
            ending = step.ending(JobStatus.FAILED, problem, step.lane_row, self._clock())
            await self._lanes.write_seen(step.owner, step.lane_row, {}, ending)
            await self._notify(step, ending)
            return
        except (BudgetExhaustedError, BudgetTooSmallError) as error:
            log.info("Job %s exceeds a budget: %s", step.head.job_id, error)
            changes = step.unaffordable(error, step.lane_row, self._clock())
            await self._lanes.write_seen(step.owner, step.lane_row, {}, changes)
            await self._notify(step, changes)
            return
        async with reservation:
            await self._send(step, command, reservation)

    async def _send(self, step: Step, command: TurnCommand, reservation: Reservation) -> None:
        turn_id = new_id(Kind.TURN)
        lease = await self._lanes.take_seen(
            step.owner, step.lane_row, turn_id, step.starting(self._clock())
        )

        committed: list[Change] = []

        def also_commit(outcome: Outcome, lane_row: Row) -> Sequence[Change]:
            committed[:] = step.finishing(outcome, lane_row, self._clock())
            return committed

        try:
            await self._turns.run_leased(command, lease, reservation, also_commit)
        except FoundryError as error:
            log.warning("Job %s: an attempt failed: %s", step.head.job_id, error.code)
        except (LeaseLostError, StorageUnavailableError):
            raise
        except Exception:  # a lease that stays would block the retries of the queue
            await self._lanes.release(lease, {UNSETTLED: True})
            raise
        await self._notify(step, committed)

    async def _notify(self, step: Step, committed: Sequence[Change]) -> None:
        """Enqueue the delivery of the job's result, if the job ended and has a callback."""
        if not step.is_delivered_after(committed):
            return
        try:
            await self._queues.notify(Notice(step.owner, step.head.job_id))
        except StorageUnavailableError as error:
            log.warning("The delivery of job %s is postponed: %s", step.head.job_id, error)

    async def _drain_past_failures(self, wake_up: WakeUp) -> None:
        """Run the waiting jobs of a lane, and end each one that still fails unexpectedly.

        The lane is run once more, because the job that failed may have ended since, or storage was
        unavailable. Only a job that fails again is ended.
        """
        contention = Contention("the lane")
        while True:
            try:
                return await self.drain(wake_up)
            except UnrunnableError as error:
                job_id = error.step.head.job_id
                log.error("Job %s fails unexpectedly\n%s", job_id, described(error))  # noqa: TRY400
                if await self._fail(error.step):
                    contention = Contention("the lane")
                else:
                    await contention.pause(error)

    async def _fail(self, step: Step) -> bool:
        """End the job of a step; False if another worker has changed its lane."""
        key = step.lane_row.row_key
        row = await self._lanes.read(step.owner, key, fresh=True)
        head = await self._jobs.head(step.owner, step.lane, row)
        if head is None or head.job_id != step.head.job_id:
            return False
        step = replace(step, lane_row=row, head=head)
        ending = step.ending(JobStatus.FAILED, INTERNAL_ERROR, row, self._clock())
        try:
            await self._lanes.write_seen(step.owner, row, {}, ending)
        except RowChangedError:
            log.debug("Lane %s was changed by another worker and is read again", step.lane)
            return False
        await self._notify(step, ending)
        return True
