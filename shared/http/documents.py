"""What callers see of a turn."""

from __future__ import annotations

from typing import Any

from ..turns.pipeline import AnsweredTurn


def turn_document(turn: AnsweredTurn) -> dict[str, Any]:
    """An answered turn as callers see it."""
    result = turn.result
    return {
        "turn_id": turn.turn_id,
        "thread_id": turn.thread_id,
        "content": result.content,
        "finish_reason": result.finish_reason.value,
        "model": result.model,
        "agent_id": result.agent_id,
        "tools_used": list(result.tools_used),
        "parsed": result.parsed,
        "usage": result.usage,
        "metadata": {"response_id": result.response_id, "request_id": result.request_id},
        "success": True,
        "error": None,
    }
