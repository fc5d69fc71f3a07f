"""Declarations of the routes that send messages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ...http.operation import (
    BUDGET_WARNING,
    LOCATION,
    PREFER,
    PREFERENCE_APPLIED,
    REPLAYED,
    Operation,
    Result,
    Tag,
)
from ...http.sse import EventName
from ...jobs.job_document import JobDocument
from ...problems import ProblemKind
from ...turns.documents import OrchestrationDocument, TurnDocument
from ..messages import SendMessage
from ..orchestrate import Orchestrate
from ..threads import ThreadMessageQuery

TURN_PROBLEMS = (
    ProblemKind.FOUNDRY_REFUSED,
    ProblemKind.TOOLS_NOT_SUPPORTED,
    ProblemKind.SET_BY_AGENT,
    ProblemKind.UNKNOWN_TOOL,
    ProblemKind.TOOL_NOT_IN_AGENT,
    ProblemKind.MODEL_REFUSED,
    ProblemKind.MODEL_NOT_FOUND,
    ProblemKind.BUDGET_SPENT,
    ProblemKind.INVALID_CONTENT,
    ProblemKind.INVALID_RESPONSE_FORMAT,
    ProblemKind.UNKNOWN_CALL,
    ProblemKind.CONTENT_FILTER,
    ProblemKind.BUDGET_TOO_SMALL,
    ProblemKind.BUDGET_RESERVED,
    ProblemKind.RATE_LIMITED,
    ProblemKind.FOUNDRY_MISSING,
    ProblemKind.PROTOCOL_ERROR,
    ProblemKind.RESPONSE_FORMAT_MISMATCH,
    ProblemKind.CONFIGURATION_ERROR,
    ProblemKind.AUTHENTICATION_FAILED,
    ProblemKind.PERMISSION_DENIED,
    ProblemKind.CIRCUIT_OPEN,
    ProblemKind.CANCELLED,
    ProblemKind.WORKER_LOST,
    ProblemKind.QUOTA_EXHAUSTED,
    ProblemKind.SERVICE_UNAVAILABLE,
    ProblemKind.STREAM_INTERRUPTED,
    ProblemKind.FOUNDRY_ERROR,
    ProblemKind.TIMEOUT,
)
THREAD_PROBLEMS = (
    ProblemKind.NOT_FOUND,
    ProblemKind.THREAD_BUSY,
    ProblemKind.LEASE_LOST,
    ProblemKind.LANE_STOPPED,
)
"""Of turns on a thread."""

ANSWERED = "The answer of the model. With `Accept: text/event-stream`, the same turn as events."


def sent(document: Any) -> dict[int, Result]:
    """The results of a send: the answer, or with `Prefer: respond-async` a job."""
    return {
        HTTPStatus.OK: Result(
            meaning=ANSWERED,
            document=document,
            headers=(REPLAYED, BUDGET_WARNING, PREFERENCE_APPLIED),
        ),
        HTTPStatus.ACCEPTED: Result(
            meaning="With `Prefer: respond-async`: the job that sends the message.",
            document=JobDocument,
            headers=(LOCATION, REPLAYED, PREFERENCE_APPLIED),
            links={"getJob": "job_id", "cancelJob": "job_id"},
        ),
    }


SEND_MESSAGE = Operation(
    id="sendMessage",
    tag=Tag.MESSAGES,
    summary="Send a message without a thread",
    description="Answers one message, which the model sees without any history.",
    body=SendMessage,
    is_keyed=True,
    headers=(PREFER,),
    results=sent(TurnDocument),
    events=EventName.payloads(TurnDocument),
    problems=TURN_PROBLEMS,
)

SEND_THREAD_MESSAGE = Operation(
    id="sendThreadMessage",
    tag=Tag.THREADS,
    summary="Send a message on a thread",
    description="Answers a message with the thread's history. One turn runs on a thread at a time.",
    query=ThreadMessageQuery,
    body=SendMessage,
    is_keyed=True,
    headers=(PREFER,),
    results=sent(TurnDocument),
    events=EventName.payloads(TurnDocument),
    problems=(*TURN_PROBLEMS, *THREAD_PROBLEMS),
)

ORCHESTRATE_MESSAGE = Operation(
    id="orchestrateMessage",
    tag=Tag.ORCHESTRATION,
    summary="Send a message to any of the configured models",
    description=(
        "Answers a message of a conversation that you name, with the first model that is available."
    ),
    body=Orchestrate,
    is_keyed=True,
    headers=(PREFER,),
    results=sent(OrchestrationDocument),
    events=EventName.payloads(OrchestrationDocument),
    problems=(*TURN_PROBLEMS, *THREAD_PROBLEMS),
)
