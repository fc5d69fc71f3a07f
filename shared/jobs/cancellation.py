"""Cancels jobs: a waiting job ends at once, a running one before its next message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..state.errors import RowChangedError, RowMissingError, StorageUnavailableError
from ..state.jobs import Job, Jobs, JobStatus, job_change
from ..state.keys import box_key, partition_key
from ..state.lanes import Clock
from ..state.mailbox import ENDED, WaitingJob
from ..state.outbox import DeliveryStatus, outbox_insert
from ..state.table import Change, Operation, Table, Value
from .queue import Notice, Queues
from .steps import CANCELLED

log = logging.getLogger(__name__)

Also = Callable[[Job], Sequence[Change]]
"""Returns further changes to write with a cancellation, given the cancelled job."""


class Cancellation:
    """Cancels jobs."""

    def __init__(self, jobs: Jobs, table: Table, queues: Queues, clock: Clock) -> None:
        self._jobs = jobs
        self._table = table
        self._queues = queues
        self._clock = clock

    async def cancel(self, owner: str, job_id: str, also: Also = lambda _: ()) -> Job:
        """Cancel a job, in one transaction with the changes of ``also``.

        Raises:
            RowMissingError: if the owner has no such job.
            JobEndedError: if it has ended otherwise; a cancelled job is returned.
        """
        job = await self._jobs.get(owner, job_id)
        ended = None if job.status.is_terminal else await self._end_waiting(job, also)
        job = ended or await self._jobs.cancel(owner, job_id, also)
        try:
            await self._queues.wake(owner, job.lane)  # the next jobs of the lane may run now
            if ended and ended.delivery:
                await self._queues.notify(Notice(owner, job_id))
        except StorageUnavailableError as error:
            log.warning("Job %s is cancelled; the sweeper will wake its lane: %s", job_id, error)
        return job

    async def _end_waiting(self, job: Job, also: Also) -> Job | None:
        """End a waiting job at once; None if a worker runs a message of it, or died meanwhile.

        Its box row stays until the lane reaches it. A worker that starts the job meanwhile changes
        the same row, so only one of the two writes succeeds.
        """
        partition, key = partition_key(job.owner), box_key(job.lane, job.sequence)
        box = await self._table.get(partition, key)
        if box is None:
            return None
        waiting = WaitingJob(job.job_id, box, {})
        if waiting.unfinished or waiting.has_ended:  # by another cancellation meanwhile
            return None
        now, problem = self._clock(), CANCELLED.to_json()
        pending = DeliveryStatus.PENDING.value if waiting.callbacks else None
        ended = replace(
            job,
            status=JobStatus.CANCELLED,
            cancel_requested=True,
            finished_at=now,
            problem=problem,
            delivery=pending,
        )
        callbacks = [outbox_insert(job.job_id, waiting.callbacks, now)] if waiting.callbacks else []
        values: dict[str, Value] = {"delivery": pending} if pending else {}
        changes = [
            Change(Operation.MERGE, key, {"cancelled": True, ENDED: True}, box.etag),
            job_change(
                job.job_id,
                status=JobStatus.CANCELLED.value,
                cancel_requested=True,
                finished_at=now,
                problem=problem,
                results=None,
                **values,
            ),
            *callbacks,
            *also(ended),
        ]
        try:
            await self._table.write(partition, changes)
        except (RowChangedError, RowMissingError):
            return None
        return ended
