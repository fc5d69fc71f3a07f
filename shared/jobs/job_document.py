"""The JSON documents of jobs, for HTTP, callbacks and replies."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired

from ..documents import Document, JsonObject
from ..problems import ProblemDocument
from ..state.jobs import Job, JobStatus
from ..state.outbox import DeliveryStatus
from ..turns.documents import ResultDocument


class Progress(Document):
    """How many of a job's messages are answered."""

    done: int
    total: int


class FailureDocument(ProblemDocument):
    """A failed attempt."""

    message: int
    """The number of the message, from 0."""
    at: str


class _JobMembers(Document):
    job_id: str
    status: JobStatus
    thread_id: str | None
    attempts: int
    """How many attempts of its messages have failed."""
    failures: list[FailureDocument]
    """The latest failed attempts, oldest first."""
    not_before: str | None
    expires_at: str | None
    cancel_requested: bool
    progress: Progress
    created_at: str
    started_at: str | None
    finished_at: str | None
    metadata: dict[str, str]
    result: ResultDocument | None
    """The answer to the last message, when the job has ended."""
    results: list[ResultDocument]
    """The answers so far, one for each message."""
    problem: ProblemDocument | None
    """Why the job ended without success."""


class JobDocument(_JobMembers):
    """A job."""

    delivery: DeliveryStatus | None
    """The state of its callback or reply."""
    request: NotRequired[JsonObject | None]
    """With `request=true`: the body of `POST /jobs` that submits the same again, without its times.
    Null if it was submitted at another address, or its texts are not recorded."""


class EndedJob(_JobMembers):
    """A job that has ended, and whose it is."""

    owner: str


class EndedDocument(Document):
    """The body of a callback, in the form of Standard Webhooks."""

    type: str
    """`job.` and the status of the job."""
    timestamp: str
    data: EndedJob


def job_document(job: Job) -> dict[str, Any]:
    """The document of a job; `result` is of its last message, `results` has all."""
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "thread_id": job.thread_id,
        "attempts": job.attempts,
        "failures": list(job.failures),
        "not_before": _moment(job.not_before),
        "expires_at": _moment(job.expires_at),
        "cancel_requested": job.cancel_requested,
        "progress": {"done": job.messages_done, "total": job.messages_total},
        "created_at": _moment(job.created_at),
        "started_at": _moment(job.started_at),
        "finished_at": _moment(job.finished_at),
        "metadata": dict(job.metadata),
        "result": job.results[-1] if job.status.is_terminal and job.results else None,
        "results": list(job.results),
        "problem": job.problem,
        "delivery": job.delivery,
    }


def ended_document(job: Job) -> dict[str, Any]:
    """The document of an ended job in callbacks and replies; the same in every attempt."""
    document = {"owner": job.owner, **job_document(job)}
    del document["delivery"]
    return {
        "type": f"job.{job.status.value}",
        "timestamp": _moment(job.finished_at),
        "data": document,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
