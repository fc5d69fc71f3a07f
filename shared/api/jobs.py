"""`/jobs`: submitting work to the queue and seeing what came of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ..contract import SubmitJob
from ..services import Services
from ..state.jobs import Job
from .border import Answer
from .incoming import Incoming


async def submit(services: Services, incoming: Incoming) -> Answer:
    """Accept a job; the answer says where to look for its end."""
    body = await incoming.body(SubmitJob)
    job = await services.submission.submit(incoming.owner, body)
    headers = {"Location": f"{incoming.request.url.path}/{job.job_id}"}
    return Answer(job_document(job), HTTPStatus.ACCEPTED, headers)


async def get(services: Services, incoming: Incoming) -> Answer:
    """One job."""
    return Answer(job_document(await services.jobs.get(incoming.owner, incoming.path["job_id"])))


def job_document(job: Job) -> dict[str, Any]:
    """A job as callers see it; `result` is the last message's, `results` has one for each."""
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "thread_id": job.thread_id,
        "progress": {"done": job.messages_done, "total": job.messages_total},
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "metadata": dict(job.metadata),
        "result": job.results[-1] if job.status.is_terminal and job.results else None,
        "results": list(job.results),
        "problem": job.problem,
    }
