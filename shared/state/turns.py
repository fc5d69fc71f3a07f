"""Turns: the record of each question, its answer or error, and its usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from .counters import TurnEvents
from .keys import AFTER_COLON, Kind, partition_key, turn_key
from .table import Change, Operation, Row, Table, Value, since
from .threads import thread_metadata

MAX_TEXT_CHARS = 32_000
"""A text property holds 64 KiB of UTF-16; longer questions and answers are cut in the record."""


MAX_TURNS_SINCE = 1_000
CLOCKS_DIFFER = timedelta(seconds=10)
"""A safe upper limit for the difference between the storage clocks of two instances."""

TOKEN_COUNTS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
)
"""Properties that hold tokens."""


RESPONSES = "responses"
"""Property with the ids of a turn's responses that Foundry stores."""


class TurnStatus(StrEnum):
    """How a turn ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class TurnMode(StrEnum):
    """How a turn was requested."""

    SYNC = "sync"
    STREAM = "stream"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class FirstTry:
    """When a message was first sent, and the end of its conversation at that time.

    A later attempt searches for the message after that item. The thread's row does not have it any
    more if other turns ran since.
    """

    at: datetime
    sent_after: str
    """Ids of the conversation and of the last item before the message; empty if it had none."""

    @property
    def conversation_id(self) -> str:
        """The conversation; empty if it had no item, or the thread is a chain of responses."""
        return self.sent_after.rpartition(" ")[0]

    @property
    def item_id(self) -> str:
        """The last item before the message; empty if there was none."""
        return self.sent_after.rpartition(" ")[2]

    def to_values(self) -> dict[str, Value]:
        """The properties that store it."""
        return {"tried_at": self.at, "sent_after": self.sent_after}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self | None:
        """Read the properties of `to_values`; None if the message was not tried."""
        return cls(values["tried_at"], values["sent_after"]) if "tried_at" in values else None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom usage and budgets attribute a turn to, and how the app was called."""

    department: str | None = None
    user_id: str | None = None
    key_id: str | None = None
    """The client key with which it was asked for."""
    face: str | None = None
    """The family of addresses that was called, or `queue`; None for the app itself."""

    @classmethod
    def of(cls, metadata: Mapping[str, str], thread: Row | None) -> Self:
        """Read what metadata states: that of a message, else that of its thread."""
        return cls(
            *(
                metadata.get(name) or (thread and thread_metadata(thread, name)) or None
                for name in ("department", "user_id")
            )
        )


@dataclass(slots=True)
class TurnEffort(TurnEvents):
    """The effort of a turn, besides the time in Foundry."""

    overhead: float = 0.0
    """Seconds spent in the app, from accepting the turn to recording it."""
    tool_calls: int = 0
    unreported: int = 0
    """Requests that may have used tokens that Foundry did not report."""
    cost: int | None = None
    """The cost of the reported tokens, in billionths of the currency; None without a price."""

    def to_values(self) -> dict[str, Value | None]:
        """The properties of a row, without default values."""
        pairs = ((name, getattr(self, name), default) for name, default in _EFFORT.items())
        return {name: value for name, value, default in pairs if value != default}


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """The record of one turn, which retention may delete."""

    turn_id: str
    owner: str
    thread_id: str | None
    job_id: str | None
    mode: TurnMode
    status: TurnStatus
    created_at: datetime
    latency: float
    """Seconds from its start, after admission and lease, to its answer or error, tools included."""
    domain: str
    model: str
    agent_id: str | None = None
    question: str | None = None
    answer: str | None = None
    finish_reason: str | None = None
    tools_used: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    """Tokens that Foundry reported, including those of failed and incomplete answers."""
    effort: TurnEffort = field(default_factory=TurnEffort)
    attribution: Attribution = Attribution()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    response_id: str | None = None
    responses: tuple[str, ...] = ()
    """All its responses that Foundry stores: each round of tools creates another one."""
    request_id: str | None = None
    error_code: str | None = None
    error: str | None = None

    def insert(self) -> Change:
        """The change that adds the turn's row; token counts that were not reported are left out."""
        values: dict[str, Value | None] = {
            "job_id": self.job_id,
            "mode": self.mode.value,
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
            RESPONSES: json.dumps(self.responses) if self.responses else None,
            "request_id": self.request_id,
            "error_code": self.error_code,
            "error": _cut(self.error),
            **asdict(self.attribution),
            **self.effort.to_values(),
            **self.usage,
        }
        return Change(Operation.INSERT, turn_key(self.thread_id, self.turn_id), values)

    @classmethod
    def from_row(cls, owner: str, row: Row) -> Self:
        """Read only the properties `COUNTED`, which metrics need, of a row that `insert` wrote."""
        _, thread_id, ulid = row.row_key.split(":")
        values = {name: value for name, value in row.values.items() if value is not None}
        return cls(
            turn_id=f"{Kind.TURN}_{ulid}",
            owner=owner,
            thread_id=None if thread_id == "-" else thread_id,
            job_id=None,
            mode=TurnMode(values["mode"]),
            status=TurnStatus(values["status"]),
            created_at=values["created_at"],
            latency=values["latency"],
            domain=values["domain"],
            model=values["model"],
            agent_id=values.get("agent_id"),
            error_code=values.get("error_code"),
            usage={name: values[name] for name in TOKEN_COUNTS if name in values},
            effort=TurnEffort(**{name: values[name] for name in _EFFORT if name in values}),
            attribution=Attribution(*map(values.get, _ATTRIBUTION)),
        )


_ATTRIBUTION = tuple(each.name for each in fields(Attribution))
_EFFORT = {each.name: each.default for each in fields(TurnEffort)}

COUNTED = (
    "mode",
    "status",
    "created_at",
    "latency",
    "domain",
    "model",
    "agent_id",
    "error_code",
    *_ATTRIBUTION,
    *_EFFORT,
    *TOKEN_COUNTS,
)
"""The properties that `TurnRecord.from_row` reads."""


def stored_responses(row: Row) -> list[str]:
    """The ids of a turn's responses that Foundry stores, given its row."""
    return json.loads(row.values.get(RESPONSES) or "[]")


async def responses_since(
    table: Table, owner: str, thread_id: str, moment: datetime
) -> frozenset[str]:
    """The ids of the responses that answered turns of a thread since a moment."""
    turns = f"{Kind.TURN}:{thread_id}"
    rows = await table.scan(
        partition_key(owner),
        f"{turns}:",
        f"{turns}{AFTER_COLON}",
        limit=MAX_TURNS_SINCE,
        where=since("created_at", moment - CLOCKS_DIFFER),
    )
    return frozenset(row.values["response_id"] for row in rows if "response_id" in row.values)


def _cut(text: str | None) -> str | None:
    """Cut a text to fit into a property, where characters beyond the basic plane count twice."""
    if text is None or len(text) * 2 <= MAX_TEXT_CHARS:
        return text
    cut = text.encode("utf-16-le")[: MAX_TEXT_CHARS * 2]
    return cut.decode("utf-16-le", errors="ignore")
