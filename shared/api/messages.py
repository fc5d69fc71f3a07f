"""`POST /messages`, and what an answered turn looks like."""

from __future__ import annotations

from typing import Any

from ..contract import SendMessage
from ..services import Services
from ..turns import Turn, TurnCommand
from .border import Answer
from .incoming import Incoming


async def send(services: Services, incoming: Incoming) -> Answer:
    """Answer a message that stands alone."""
    return await run_turn(services, incoming, thread_id=None)


async def run_turn(services: Services, incoming: Incoming, thread_id: str | None) -> Answer:
    """Run the turn that a request's body asks for."""
    body = await incoming.body(SendMessage)
    command = TurnCommand(
        owner=incoming.owner,
        request=body.turn_request(body.message),
        seconds=services.settings.turn_seconds,
        thread_id=thread_id,
    )
    turn = await services.turns.run(command)
    return Answer(turn_document(turn), upstream_seconds=turn.result.latency)


def turn_document(turn: Turn) -> dict[str, Any]:
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
        "usage": result.usage,
        "metadata": {"response_id": result.response_id, "request_id": result.request_id},
        "success": True,
        "error": None,
    }
