"""`/jobs`: submitting jobs, reading their status and results, and cancelling them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic

from ..http.answers import Answer, Streamed
from ..http.idempotency import kept, once
from ..http.request import MAX_PAGE_SIZE, PAGE_SIZE, Incoming, invalid_field, query
from ..jobs.cancellation import Cancellation
from ..jobs.job_document import job_document
from ..jobs.requests import SubmitJob
from ..jobs.submission import Submission
from ..metering.owner_limits import OwnerLimits
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.jobs import Job, Jobs, JobStatus
from ..state.keys import Kind, is_id

MAX_WAIT_SECONDS = 200
"""Less than the 230 s after which Azure's load balancer closes a request."""

FIRST_LOOK_SECONDS = 0.1
MAX_LOOK_SECONDS = 2.0


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

    @query("limit", "cursor", "status")
    async def list_(self, incoming: Incoming) -> Answer:
        """A page of the caller's jobs, newest first."""
        limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
        cursor = incoming.query.get("cursor")
        if cursor is not None and not is_id(Kind.JOB, cursor):
            raise invalid_field("cursor", "must be the next_cursor of an earlier page")
        status = incoming.query.get("status")
        if status is not None and status not in set(JobStatus):
            raise invalid_field("status", f"must be one of {', '.join(JobStatus)}")
        wanted = JobStatus(status) if status else None
        jobs = await self.jobs.list(incoming.owner, limit=limit, after=cursor, status=wanted)
        next_cursor = jobs[-1].job_id if len(jobs) == limit else None
        return Answer({"data": [job_document(job) for job in jobs], "next_cursor": next_cursor})

    @query("wait")
    async def get(self, incoming: Incoming) -> Answer:
        """One job; with `wait`, the answer is sent when the job ends or after that many seconds."""
        seconds = incoming.integer("wait", 0, 0, MAX_WAIT_SECONDS)
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
