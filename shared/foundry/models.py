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
"""Ten times the largest context there is; a larger count is an error of the service."""


def token_counts(reported: JsonObject) -> Usage:
    """The plausible counts: whole numbers from 0 to `MAX_REPORTED_TOKENS`.

    Others are left out and logged, and count as unreported tokens.
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
    """A message and its options; None means "as configured"."""

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
    """Let Foundry go on when the connection breaks, and resume the stream."""
    preceding: tuple[JsonObject, ...] = ()
    """Messages exchanged with other models before this one, oldest first."""


@dataclass(frozen=True, slots=True)
class ThreadRef:
    """Where Foundry keeps a thread: in a conversation, or in a chain of responses."""

    conversation_id: str | None = None
    last_response_id: str | None = None
    last_item_id: str | None = None
    """The newest item of the conversation that we know of."""
    look_first: bool = False
    """Unknown items may follow that one: an earlier turn did not end regularly."""
    sent_before: bool = False
    """The message itself may be among them, followed by newer ones of others."""
    others: frozenset[str] = frozenset()
    """Responses that answered other clients, even to an equal message."""
    by_others: bool = False
    """The unknown items are of others: none of them answers the message."""
    calls_open: bool = False
    """A call waits for its answer, which must be sent before anything else."""


class ToolCall(NamedTuple):
    """One call of a tool."""

    tool: str
    arguments_hash: str | None
    """Of its arguments; None if the answer does not contain them."""


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
    """The model's text if it refused to answer; then also the content."""
    parsed: Any = None
    """The answer read as its response format says, where one was asked for."""
    latency: float = 0.0
    """Seconds from the first request to the end, tools included."""


@dataclass(slots=True)
class FoundryResponse:
    """The answer to a message, or with ``success=False`` the reason for its failure."""

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
    """A thread without its history."""

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
    """Pass it to get the next, older page; None on the last."""
