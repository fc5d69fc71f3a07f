"""`/jobs`: submitting jobs, reading their status and results, and cancelling them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Annotated

from pydantic import Field

from ..documents import Document
from ..http.answers import Answer, Streamed
from ..http.idempotency import kept, once
from ..http.query import PageQuery, Query, last_id, whole_number
from ..http.request import Incoming
from ..jobs.cancellation import Cancellation
from ..jobs.job_document import JobDocument, job_document
from ..jobs.requests import SubmitJob
from ..jobs.submission import Submission
from ..metering.owner_limits import OwnerLimits
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.jobs import Job, Jobs, JobStatus
from ..state.keys import Kind

MAX_WAIT_SECONDS = 200
"""Less than the 230 s after which Azure's load balancer closes a request."""

FIRST_LOOK_SECONDS = 0.1
MAX_LOOK_SECONDS = 2.0


class JobsQuery(PageQuery):
    """The query of `GET /jobs`."""

    cursor: Annotated[str, last_id(Kind.JOB)] | None = None
    """The `next_cursor` of the page before."""

    status: JobStatus | None = None
    """Only jobs with this status."""


class JobQuery(Query):
    """The query of `GET /jobs/{job_id}`."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS), whole_number] = 0
    """Seconds to wait for the job's end."""


class JobsPage(Document):
    """A page of jobs."""

    data: list[JobDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last."""


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

        def accepted(job: Job) -> Answer:
            headers = {"Location": f"{incoming.request.url.path}/{job.job_id}"}
            return Answer(job_document(job), HTTPStatus.ACCEPTED, headers)

        async def act(claim: Claim | None) -> Answer:
            job_id = claim.id(Kind.JOB) if claim else None
            if body.starts_thread:
                self.limits.new_thread(incoming.owner)
            job = await self.submission.submit(
                incoming.owner,
                body,
                job_id,
                caller=incoming.caller,
                also=lambda job: kept(claim, accepted(job)),
            )
            return accepted(job)

        return await once(self.keys, incoming, body, act)

    async def list_(self, incoming: Incoming) -> Answer:
        """A page of the caller's jobs, newest first."""
        asked = incoming.parameters_as(JobsQuery)
        limit = asked.limit
        jobs = await self.jobs.list(
            incoming.owner, limit=limit, after=asked.cursor, status=asked.status
        )
        next_cursor = jobs[-1].job_id if len(jobs) == limit else None
        return Answer({"data": [job_document(job) for job in jobs], "next_cursor": next_cursor})

    async def get(self, incoming: Incoming) -> Answer:
        """One job; with `wait`, the answer is sent when the job ends or after that many seconds."""
        seconds = incoming.parameters_as(JobQuery).wait
        job_id = incoming.path["job_id"]
        until, pause = monotonic() + seconds, FIRST_LOOK_SECONDS
        with self.limits.waiting(incoming.owner, seconds):
            job = await self.jobs.get(incoming.owner, job_id)
            while not job.status.is_terminal and (left := until - monotonic()) > 0:
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 1.5, MAX_LOOK_SECONDS)
                job = await self.jobs.get(incoming.owner, job_id)
        return Answer(job_document(job))

    async def cancel(self, incoming: Incoming) -> Answer | Streamed:
        """Cancel a job: a waiting job ends at once, a running one before its next message."""

        def accepted(job: Job) -> Answer:
            return Answer(job_document(job), HTTPStatus.ACCEPTED)

        async def act(claim: Claim | None) -> Answer:
            job = await self.cancellation.cancel(
                incoming.owner, incoming.path["job_id"], lambda job: kept(claim, accepted(job))
            )
            return accepted(job)

        return await once(self.keys, incoming, None, act)
