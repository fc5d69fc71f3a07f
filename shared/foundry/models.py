"""The values that go into and come out of the client."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from .structured import ResponseFormat
from .tools import ToolLike
from .wire_json import JsonObject

log = logging.getLogger(__name__)

Usage = dict[str, int]
"""Token counts: `input_tokens`, `output_tokens`, `total_tokens`, and `cached_tokens`,
`reasoning_tokens` where given. What the service did not say is absent, never 0."""

MAX_REPORTED_TOKENS = 100_000_000
"""Ten times the largest context there is: a count beyond it is a fault of who reports it."""


def token_counts(reported: JsonObject) -> Usage:
    """The counts that can be true: whole numbers, not negative, not beyond all measure.

    Others are left out and logged, and so count as tokens that nobody reported.
    """
    counts = {name: count for name, count in reported.items() if count is not None}
    usage = {name: count for name, count in counts.items() if _is_count(count)}
    if wrong := counts.keys() - usage.keys():
        log.warning("Token counts that cannot be true are left out: %s", ", ".join(sorted(wrong)))
    return usage


def _is_count(count: object) -> bool:
    return type(count) is int and 0 <= count <= MAX_REPORTED_TOKENS  # a bool is no count


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What the caller wants said and how; None means "as configured"."""

    message: str
    domain: str = "general"
    system_prompt: str | None = None
    tools: tuple[ToolLike, ...] = ()
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    parts: tuple[JsonObject, ...] = ()
    """Images and files, as `image_part` and `file_part` make them."""
    response_format: ResponseFormat[Any] | None = None
    background: bool = False
    """Let Foundry go on when the connection breaks, and take the stream up again."""
    preceding: tuple[JsonObject, ...] = ()
    """Messages that were exchanged elsewhere and stand before this one, oldest first."""


@dataclass(frozen=True, slots=True)
class ThreadRef:
    """Where Foundry keeps a thread: in a conversation, or in a chain of responses."""

    conversation_id: str | None = None
    last_response_id: str | None = None
    last_item_id: str | None = None
    """The newest item of the conversation that we know of."""
    look_first: bool = False
    """Something may stand behind that item: an earlier turn did not end as it should."""
    sent_before: bool = False
    """The message itself may stand there, and what others said since behind it."""
    others: frozenset[str] = frozenset()
    """Responses there that answered others, even where they said the same."""
    by_others: bool = False
    """What may stand there unseen was sent by others: nothing of it answers the message."""
    left_open: bool = False
    """A call there waits for its answer, which must come before anything else."""


class ToolCall(NamedTuple):
    """One call of a tool."""

    tool: str
    arguments_hash: str | None
    """Of what it was asked; None where the answer does not say."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """A finished turn as Foundry reported it."""

    content: str
    finish_reason: FinishReason
    response_id: str
    model: str
    agent_id: str | None = None
    tools_used: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    last_item_id: str | None = None
    """The newest item of the conversation: where the next look-back starts."""
    request_id: str | None = None
    refusal: str | None = None
    """What the model said where it refused to answer; then also the content."""
    parsed: Any = None
    """The answer read as its response format says, where one was asked for."""
    latency: float = 0.0
    """Seconds from the first request to the end, tools included."""


@dataclass(slots=True)
class FoundryResponse:
    """The answer to a message, or with ``success=False`` the reason why there is none."""

    content: str
    thread_id: str | None = None
    agent_id: str | None = None
    model: str = ""
    tools_used: list[str] = field(default_factory=list[str])
    usage: Usage = field(default_factory=Usage)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    success: bool = True
    error: str | None = None
    error_code: str | None = None


@dataclass(slots=True)
class ThreadInfo:
    """What is known of a thread without reading its history."""

    thread_id: str
    agent_id: str | None
    created_at: datetime
    last_accessed: datetime
    message_count: int = 0
    """Messages sent on the thread; answers are not counted."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a thread's history."""

    id: str
    role: str
    content: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of history, newest message first."""

    messages: tuple[Message, ...]
    next_cursor: str | None = None
    """Give it back to get the next, older page; None on the last."""
