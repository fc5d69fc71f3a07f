"""The trace spans of jobs: a running job continues the trace of its submission.

A wake-up only names a lane, so the trace context is stored with the work, in the job's box row.
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
"""The OpenTelemetry conventions define no name for Queue Storage and allow a custom one."""

TRACE = "trace"
"""Member of a work document with the trace context of the submission."""


def submission(job_id: str) -> span:
    """The span of the submission of a job, the parent of its turns' spans."""
    return span("submit job", {**_operation("submit", "create"), JOB_ID: job_id}, SpanKind.PRODUCER)


def run(queue: str, job_id: str, work: Mapping[str, Any]) -> span:
    """The span of one message of a job, linked to the span of the worker's invocation."""
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
