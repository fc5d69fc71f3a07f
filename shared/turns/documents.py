"""The result of a turn as JSON, in the form of each route."""

from __future__ import annotations

import json
from typing import Any

from ..foundry.errors import FoundryError
from ..foundry.models import TurnResult
from .command import AnsweredTurn, Attempt, TurnCommand

NO_SOURCE = "model_orchestrator"
"""The `source` of a failure: no model answered."""


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
