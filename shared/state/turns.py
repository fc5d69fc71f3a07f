"""Turns: the record of what was asked, what came of it and what it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .keys import turn_key
from .table import Action, Change, Value

MAX_TEXT_CHARS = 32_000
"""A text property holds 64 KiB of UTF-16; longer questions and answers are cut in the record."""


class TurnStatus(StrEnum):
    """How a turn ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Inlet(StrEnum):
    """The way a turn came in."""

    SYNC = "sync"
    STREAM = "stream"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One turn, kept forever or until retention removes it."""

    turn_id: str
    owner: str
    thread_id: str | None
    job_id: str | None
    inlet: Inlet
    status: TurnStatus
    created_at: datetime
    latency: float
    """Seconds spent in Foundry."""
    domain: str
    model: str
    agent_id: str | None = None
    question: str | None = None
    answer: str | None = None
    finish_reason: str | None = None
    tools_used: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    response_id: str | None = None
    request_id: str | None = None
    error_code: str | None = None
    error: str | None = None

    def insert(self) -> Change:
        """The change that adds the turn's row; token counts nobody reported are left out."""
        values: dict[str, Value | None] = {
            "job_id": self.job_id,
            "inlet": self.inlet.value,
            "status": self.status.value,
            "created_at": self.created_at,
            "latency": self.latency,
            "domain": self.domain,
            "model": self.model,
            "agent_id": self.agent_id,
            "question": _cut(self.question),
            "answer": _cut(self.answer),
            "finish_reason": self.finish_reason,
            "tools_used": json.dumps(self.tools_used) if self.tools_used else None,
            "metadata": json.dumps(dict(self.metadata), ensure_ascii=False)
            if self.metadata
            else None,
            "response_id": self.response_id,
            "request_id": self.request_id,
            "error_code": self.error_code,
            "error": _cut(self.error),
            **self.usage,
        }
        return Change(Action.INSERT, turn_key(self.thread_id, self.turn_id), values)


def _cut(text: str | None) -> str | None:
    """Cut to what a property holds; characters beyond the basic plane count twice there."""
    if text is None or len(text) * 2 <= MAX_TEXT_CHARS:
        return text
    cut = text.encode("utf-16-le")[: MAX_TEXT_CHARS * 2]
    return cut.decode("utf-16-le", errors="ignore")
