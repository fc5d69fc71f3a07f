"""What comes out of an orchestrated turn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..foundry.models import TurnResult
from .model_types import ModelType

NOBODY = "model_orchestrator"
"""The `source` of a result that no model gave."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A model that was asked, or passed over because its circuit is open."""

    model_type: ModelType
    error_code: str | None = None
    """Why it gave no answer; None for the one that did."""

    def to_json(self) -> dict[str, str | None]:
        """As results and HTTP answers show it."""
        return {"model_type": self.model_type.value, "error_code": self.error_code}


@dataclass(frozen=True, slots=True)
class Routed:
    """An answer, and which models were asked for it."""

    result: TurnResult
    attempts: tuple[Attempt, ...]
    """In order; the last one answered."""

    @property
    def source(self) -> ModelType:
        """The model that answered."""
        return self.attempts[-1].model_type

    @property
    def fallback_from(self) -> ModelType | None:
        """The model that should have answered, if another one had to."""
        return self.attempts[0].model_type if len(self.attempts) > 1 else None


@dataclass(frozen=True, slots=True)
class Opened:
    """The conversation is ours for the turn, and a model will be asked now."""

    turn_id: str
    thread_id: str
    conversation_id: str

    def to_json(self) -> dict[str, str]:
        """As `POST /orchestrate` streams it."""
        return {
            "turn_id": self.turn_id,
            "thread_id": self.thread_id,
            "conversationId": self.conversation_id,
        }


@dataclass(frozen=True, slots=True)
class Orchestrated:
    """A finished turn of a conversation."""

    routed: Routed
    opened: Opened
    domain: str
    seconds: float
    finished_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The result as `process_model_request` and `POST /orchestrate` give it."""
        routed, result = self.routed, self.routed.result
        return {
            **self.opened.to_json(),
            "domain": self.domain,
            "reply": result.content,
            "success": True,
            "error": None,
            "source": routed.source.value,
            "model_type": routed.attempts[0].model_type.value,
            "fallback_from": routed.fallback_from.value if routed.fallback_from else None,
            "attempts": [attempt.to_json() for attempt in routed.attempts],
            "model": result.model,
            "agent_id": result.agent_id,
            "tools_used": list(result.tools_used),
            "parsed": result.parsed,
            "usage": result.usage,
            "finish_reason": result.finish_reason.value,
            "execution_time": round(self.seconds, 6),
            "timestamp": self.finished_at.isoformat(),
        }
