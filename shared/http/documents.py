"""What callers see of a turn, a thread and a message."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..foundry.models import Message
from ..state.threads import Thread
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


def thread_document(thread: Thread) -> dict[str, Any]:
    """A thread as callers see it."""
    return {
        "thread_id": thread.thread_id,
        "agent_id": thread.agent_id,
        "created_at": _moment(thread.created_at),
        "last_accessed": _moment(thread.last_accessed),
        "expires_at": _moment(thread.expires_at),
        "message_count": thread.message_count,
        "total_tokens": thread.total_tokens,
        "metadata": dict(thread.metadata),
    }


def message_document(message: Message) -> dict[str, Any]:
    """A message of a thread's history as callers see it."""
    return {**asdict(message), "created_at": _moment(message.created_at)}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
