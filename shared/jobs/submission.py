"""Takes jobs in, from HTTP and from the inlet queue.

A job is accepted when its rows are written, in one transaction; the wake-up that follows only
makes it start soon.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..contract import SubmitJob, TurnOptions
from ..state.errors import RowExistsError
from ..state.jobs import Job, Jobs, JobStatus
from ..state.keys import Kind, new_id
from ..state.lanes import Clock
from ..state.threads import Thread, Threads
from .queue import Queues


class Submission:
    """Accepts jobs."""

    def __init__(self, jobs: Jobs, threads: Threads, queues: Queues, clock: Clock) -> None:
        self._jobs = jobs
        self._threads = threads
        self._queues = queues
        self._clock = clock

    async def submit(self, owner: str, body: SubmitJob, job_id: str | None = None) -> Job:
        """Accept a job; once this returns, it will run.

        Raises:
            RowMissingError: if the owner has no such thread.
            DocumentTooLargeError: if the messages do not fit into a row.
            StorageUnavailableError: if the job could not be kept, or no worker woken.
        """
        thread_id = body.thread_id
        if thread_id is not None:
            await self._threads.get(owner, thread_id)
        elif body.new_thread or len(body.texts) > 1:
            thread_id = await self._start_thread(owner, body)
        job = Job(
            job_id=job_id or new_id(Kind.JOB),
            owner=owner,
            status=JobStatus.QUEUED,
            created_at=self._clock(),
            thread_id=thread_id,
            messages_total=len(body.texts),
            metadata=body.metadata,
        )
        try:
            await self._jobs.submit(job, work_document(body))
        except RowExistsError:
            job = await self._jobs.get(owner, job.job_id)
        await self._queues.wake(owner, job.lane)
        return job

    async def _start_thread(self, owner: str, body: SubmitJob) -> str:
        """Keep a thread that gets its place in Foundry when its first message is sent."""
        now: datetime = self._clock()
        thread = Thread(new_id(Kind.THREAD), owner, now, now, metadata=body.metadata)
        await self._threads.add(thread)
        return thread.thread_id


def work_document(body: SubmitJob) -> dict[str, Any]:
    """The work of a job as its box row keeps it."""
    options = body.model_dump(include=set(TurnOptions.model_fields), exclude_defaults=True)
    return {"messages": body.texts, "options": options}
