"""`/jobs`: submitting jobs, reading their status and results, and cancelling them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any, NotRequired

from pydantic import Field

from ..audit.trail import Caller
from ..documents import Document
from ..http.answers import Answer, Streamed
from ..http.idempotency import Keyed, kept, keyed, once
from ..http.prefer import MAX_WAIT_SECONDS
from ..http.query import Boolean, PageQuery, Query, id_schema, last_id, whole_number
from ..http.request import Incoming
from ..jobs.cancellation import Cancellation
from ..jobs.job_document import JobDocument, job_document
from ..jobs.requests import SubmitJob, repeating
from ..jobs.submission import Submission
from ..metering.owner_limits import OwnerLimits
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.jobs import Job, Jobs, JobStatus
from ..state.keys import Kind
from ..turns.body import MAX_NAME_CHARS

ADDRESS = "/api/jobs"

FIRST_LOOK_SECONDS = 0.1
MAX_LOOK_SECONDS = 2.0


class JobsQuery(PageQuery):
    """The query of `GET /jobs`."""

    cursor: Annotated[str, last_id(Kind.JOB), id_schema(Kind.JOB)] | None = None
    """The `next_cursor` of the page before."""

    status: JobStatus | None = None
    """Only jobs with this status."""

    thread_id: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    """Only jobs of this thread."""

    counts: Boolean = False
    """Whether to add `counts`."""


class JobQuery(Query):
    """The query of `GET /jobs/{job_id}`."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS), whole_number] = 0
    """Seconds to wait for the job's end."""

    request: Boolean = False
    """Whether to add `request`, the body that submits the same again."""


class JobsPage(Document):
    """A page of jobs."""

    data: list[JobDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last."""
    counts: NotRequired[dict[JobStatus, int]]
    """How many of the latest 1,000 jobs have each status."""


@dataclass(frozen=True, slots=True)
class JobsApi:
    """Handlers of `/jobs`."""

    jobs: Jobs
    submission: Submission
    cancellation: Cancellation
    limits: OwnerLimits
    keys: IdempotencyKeys

    async def submit(self, incoming: Incoming) -> Answer | Streamed:
        """Accept a job; the `Location` header is the address of its status."""
        body = await incoming.body(SubmitJob)
        return await self.accept(keyed(incoming, body), body, incoming.caller)

    async def accept(self, request: Keyed, job: SubmitJob, caller: Caller) -> Answer | Streamed:
        """Accept the ``job`` that a request asks for, once per idempotency key."""

        async def act(claim: Claim | None) -> Answer:
            job_id = claim.id(Kind.JOB) if claim else None
            if job.starts_thread:
                self.limits.new_thread(request.owner)
            submitted = await self.submission.submit(
                request.owner,
                job,
                job_id,
                caller=caller,
                also=lambda stored: kept(claim, accepted(stored)),
            )
            return accepted(submitted)

        return await once(self.keys, request, act)

    async def list_(self, incoming: Incoming) -> Answer:
        """A page of the caller's jobs, newest first."""
        return Answer(await self.page(incoming.owner, incoming.parameters_as(JobsQuery)))

    async def page(self, owner: str, asked: JobsQuery) -> dict[str, Any]:
        """The document of a page of an owner's jobs, newest first."""
        limit = asked.limit
        jobs = await self.jobs.list(
            owner,
            limit=limit,
            after=asked.cursor,
            status=asked.status,
            thread_id=asked.thread_id,
        )
        next_cursor = jobs[-1].job_id if len(jobs) == limit else None
        page: dict[str, Any] = {
            "data": [job_document(job) for job in jobs],
            "next_cursor": next_cursor,
        }
        if asked.counts:
            counts = await self.jobs.count(owner)
            page["counts"] = {status.value: counts[status] for status in JobStatus}
        return page

    async def get(self, incoming: Incoming) -> Answer:
        """One job; with `wait`, the answer is sent when the job ends or after that many seconds."""
        asked, owner = incoming.parameters_as(JobQuery), incoming.owner
        with self.limits.waiting(owner, asked.wait):
            job = await self.ended(owner, incoming.path["job_id"], asked.wait)
        document = job_document(job)
        if asked.request:
            row = await self.jobs.asked(job)
            document["request"] = row and repeating(job, row)
        return Answer(document)

    async def awaited(self, owner: str, job_id: str, seconds: float) -> dict[str, Any]:
        """The document of a job when it has ended, or as it is after ``seconds``.

        Raises:
            LimitError: if too many requests of the owner wait.
            RowMissingError: if the owner has no such job.
        """
        with self.limits.waiting(owner, seconds):
            return job_document(await self.ended(owner, job_id, seconds))

    async def ended(self, owner: str, job_id: str, seconds: float) -> Job:
        """A job when it has ended, or as it is after ``seconds``.

        Raises:
            RowMissingError: if the owner has no such job.
        """
        until, pause = monotonic() + seconds, FIRST_LOOK_SECONDS
        job = await self.jobs.get(owner, job_id)
        while not job.status.is_terminal and (left := until - monotonic()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, MAX_LOOK_SECONDS)
            job = await self.jobs.get(owner, job_id)
        return job

    async def cancel(self, incoming: Incoming) -> Answer | Streamed:
        """Cancel a job: a waiting job ends at once, a running one before its next message."""
        return await self.stop(keyed(incoming, None), incoming.path["job_id"])

    async def stop(self, request: Keyed, job_id: str) -> Answer | Streamed:
        """Cancel a job, once per idempotency key."""

        def cancelled(job: Job) -> Answer:
            return Answer(job_document(job), HTTPStatus.ACCEPTED)

        async def act(claim: Claim | None) -> Answer:
            job = await self.cancellation.cancel(
                request.owner, job_id, lambda job: kept(claim, cancelled(job))
            )
            return cancelled(job)

        return await once(self.keys, request, act)


def accepted(job: Job) -> Answer:
    """The answer that says that a job was accepted, and where to look it up."""
    headers = {"Location": f"{ADDRESS}/{job.job_id}"}
    return Answer(job_document(job), HTTPStatus.ACCEPTED, headers)
