"""The JSON documents of jobs, for HTTP, callbacks and replies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..state.jobs import Job


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
