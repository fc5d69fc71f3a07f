"""The result of a turn as JSON, in the form of each route."""

from __future__ import annotations

import json
from typing import Any, NotRequired

from ..config import ModelType
from ..documents import Document
from ..foundry.errors import FoundryError
from ..foundry.models import FinishReason, TurnResult
from .command import AnsweredTurn, Attempt, TurnCommand

NO_SOURCE = "model_orchestrator"
"""The `source` of a failure: no model answered."""


class AttemptDocument(Document):
    """A model that was asked."""

    model_type: ModelType
    error_code: str | None
    """Why it gave no answer; null for the one that did."""


class UsageCounts(Document):
    """Token counts; those that the model's service did not report are absent."""

    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]


class UpstreamIds(Document):
    """Foundry's ids of the answer."""

    response_id: str
    request_id: str | None


class _Answered(Document):
    finish_reason: FinishReason
    """`length` if the answer was cut at `max_tokens`."""
    model: str
    agent_id: str | None
    tools_used: list[str]
    usage: UsageCounts
    source: ModelType
    """The model that answered."""
    fallback_from: ModelType | None
    """The model that was asked first, if another one answered."""


class _Recorded(Document):
    content_recorded: NotRequired[bool]
    """False in a stored answer without its texts, which are null."""


class TurnDocument(_Answered, _Recorded):
    """An answered message."""

    turn_id: str
    thread_id: str | None
    content: str | None
    """The answer; null only where an answer without its texts is replayed."""
    parsed: Any
    """The answer as JSON, if the request had a `response_format`."""
    metadata: UpstreamIds
    success: bool
    error: str | None


class ResultDocument(_Answered, _Recorded):
    """The answer to a message of a job."""

    turn_id: str
    content: str | None
    """The answer; null where texts are not recorded."""
    truncated: bool
    """Whether the answer was too long to be stored whole; the thread's messages have it."""


class OrchestrationDocument(_Answered, _Recorded):
    """An answered message of a conversation."""

    turn_id: str
    thread_id: str | None
    conversationId: str | None  # noqa: N815 - documented
    """Your own id of the conversation."""
    domain: str
    reply: str | None
    """The answer; null only where an answer without its texts is replayed."""
    success: bool
    error: str | None
    model_type: ModelType
    """The model that was asked first."""
    attempts: list[AttemptDocument]
    """The models that were asked, in order."""
    parsed: Any
    """The answer as JSON, if the request had a `response_format`."""
    execution_time: float
    """Seconds."""
    timestamp: str
    """When the turn ended."""


def turn_document(turn: AnsweredTurn) -> dict[str, Any]:
    """An answered turn as `/messages` and `/threads` return it."""
    result = turn.result
    return {
        "turn_id": turn.turn_id,
        "thread_id": turn.thread_id,
        "content": result.content,
        **_common(result),
        "parsed": result.parsed,
        "usage": result.usage,
        **_models(turn),
        "metadata": {"response_id": result.response_id, "request_id": result.request_id},
        "success": True,
        "error": None,
    }


def job_result_document(turn: AnsweredTurn, most_bytes: int) -> dict[str, Any]:
    """An answered turn as stored in a job's row, with the answer cut to ``most_bytes``."""
    result = turn.result
    kept = result.content
    while len(json.dumps(kept, ensure_ascii=False).encode(errors="replace")) > most_bytes:
        kept = kept[: len(kept) * 4 // 5]
    return {
        "turn_id": turn.turn_id,
        "content": kept,
        "truncated": len(kept) < len(result.content),
        **_common(result),
        "usage": result.usage,
        **_models(turn),
    }


def orchestration_document(turn: AnsweredTurn, command: TurnCommand) -> dict[str, Any]:
    """An answered turn as `/orchestrate` and `process_model_request` return it."""
    result = turn.result
    return {
        "turn_id": turn.turn_id,
        "thread_id": turn.thread_id,
        "conversationId": command.conversation_id,
        "domain": command.request.domain,
        "reply": result.content,
        "success": True,
        "error": None,
        **_common(result),
        "usage": result.usage,
        **_models(turn),
        "model_type": turn.attempts[0].model_type.value,
        "attempts": [attempt.to_json() for attempt in turn.attempts],
        "parsed": result.parsed,
        "execution_time": round(turn.seconds, 6),
        "timestamp": turn.finished_at.isoformat(),
    }


def orchestration_failure(
    error: FoundryError, command: TurnCommand, attempts: list[Attempt], seconds: float
) -> dict[str, Any]:
    """The result of `process_model_request` if no model answered, without the timestamp."""
    return {
        "turn_id": None,
        "thread_id": None,
        "conversationId": command.conversation_id,
        "domain": command.request.domain,
        "reply": "",
        "success": False,
        "error": error.message,
        "error_code": error.code,
        "source": NO_SOURCE,
        "model_type": command.model_type.value if command.model_type else None,
        "fallback_from": None,
        "attempts": [attempt.to_json() for attempt in attempts],
        "model": None,
        "agent_id": None,
        "tools_used": [],
        "parsed": None,
        "usage": {},
        "finish_reason": None,
        "execution_time": round(seconds, 6),
    }


def _common(result: TurnResult) -> dict[str, Any]:
    return {
        "finish_reason": result.finish_reason.value,
        "model": result.model,
        "agent_id": result.agent_id,
        "tools_used": list(result.tools_used),
    }


def _models(turn: AnsweredTurn) -> dict[str, Any]:
    """The model that answered, and the one it replaced."""
    passed_over = turn.fallback_from
    return {
        "source": turn.source.value,
        "fallback_from": passed_over.value if passed_over else None,
    }
