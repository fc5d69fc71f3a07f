"""The spans of jobs: a job that runs continues the trace in which it was submitted.

A wake-up only names a lane, so the trace context travels with the work, in the job's box row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import SpanKind

from ..observability.tracing import (
    DESTINATION,
    JOB_ID,
    MESSAGING_OPERATION,
    MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
    Attributes,
    continued,
    span,
)

QUEUE_STORAGE = "azure_queue_storage"
"""The conventions have no name for Queue Storage; they ask for one of one's own then."""

TRACE = "trace"
"""Where a work document keeps the trace context of the submission."""


def submission(job_id: str) -> span:
    """The span of a job being accepted, which its turns continue."""
    return span("submit job", {**_operation("submit", "create"), JOB_ID: job_id}, SpanKind.PRODUCER)


def run(queue: str, job_id: str, work: Mapping[str, Any]) -> span:
    """The span of a message of a job being sent, with a link to what brought its worker to it."""
    attributes = {**_operation("process", "process"), DESTINATION: queue, JOB_ID: job_id}
    return _consumed(queue, work.get(TRACE), attributes)


def reception(queue: str, traceparent: str | None) -> span:
    """The span of a message of the intake queue; ``traceparent`` is its producer's."""
    attributes = {**_operation("process", "process"), DESTINATION: queue}
    return _consumed(queue, {"traceparent": traceparent} if traceparent else None, attributes)


def _consumed(queue: str, carrier: Mapping[str, str] | None, attributes: Attributes) -> span:
    parent = continued(carrier) if carrier else None
    return span(f"process {queue}", attributes, SpanKind.CONSUMER, parent=parent)


def _operation(name: str, kind: str) -> dict[str, str]:
    return {
        MESSAGING_SYSTEM: QUEUE_STORAGE,
        MESSAGING_OPERATION: name,
        MESSAGING_OPERATION_TYPE: kind,
    }
