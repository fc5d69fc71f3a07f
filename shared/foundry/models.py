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
    TOOL_CALLS = "tool_calls"
    """The model calls functions that the caller runs, see `TurnResult.calls`."""
    APPROVAL = "approval"
    """A tool waits until the caller approves or consents, see `TurnResult.requests`."""


@dataclass(frozen=True, slots=True)
class ClientTools:
    """Functions that the caller runs; `client_tools` makes them from what a caller sent."""

    definitions: tuple[JsonObject, ...]
    """Each as the Responses API has it: `type`, `name`, `description`, `parameters`, `strict`."""
    choice: str | JsonObject | None = None
    """The `tool_choice` of the Responses API; None for the model's choice."""
    parallel: bool | None = None
    """Whether the model may call several at once; None for the service's default."""

    @property
    def names(self) -> frozenset[str]:
        """The names of the functions."""
        return frozenset(definition["name"] for definition in self.definitions)


@dataclass(frozen=True, slots=True)
class ClientCall:
    """A call of a function that the caller runs."""

    call_id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it."""

    def to_item(self) -> JsonObject:
        """The call as an item of the Responses API."""
        return {
            "type": "function_call",
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
        }


@dataclass(frozen=True, slots=True)
class ClientOutput:
    """What a function of the caller returned."""

    call_id: str
    output: str

    def to_item(self) -> JsonObject:
        """The output as an item of the Responses API."""
        return {
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": self.output,
        }


class RequestKind(StrEnum):
    """What a tool that Foundry runs waits for."""

    APPROVAL = "approval"
    """The caller's approval of one call, which the next message gives or refuses."""
    CONSENT = "consent"
    """The user's consent at `link`; then the message must be sent again."""


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that Foundry runs, and that waits for its user."""

    id: str
    kind: RequestKind
    server: str
    """The label of the MCP server or connection."""
    tool: str | None = None
    """The name of the tool; None for a consent, which is for the whole server."""
    arguments: str | None = None
    """JSON text of the call that is to be approved."""
    link: str | None = None
    """Where the user consents."""


@dataclass(frozen=True, slots=True)
class Approval:
    """The caller's answer to a `ToolRequest` for approval."""

    id: str
    approve: bool
    reason: str | None = None


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
    checks_format: bool = True
    """Whether an answer that does not follow the format is an error."""
    background: bool = False
    """Let Foundry go on when the connection breaks, and resume the stream."""
    preceding: tuple[JsonObject, ...] = ()
    """Items before the message, oldest first: what other models were sent and answered, or the
    whole history of a request without a thread, calls and their outputs included."""
    client_tools: ClientTools | None = None
    """Functions that the caller runs; a call of one ends the turn."""
    outputs: tuple[ClientOutput, ...] = ()
    """Of the calls that the thread's previous turn handed over; the message may then be empty."""
    approvals: tuple[Approval, ...] = ()
    """Of what the thread's previous turn asked for; the message may then be empty."""
    asks_caller: bool = False
    """Whether requests for approval go to the caller, and not to the app's own callback."""


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
    """A call that is not known here waits for its answer, which must be sent before anything
    else."""
    owed: tuple[JsonObject, ...] = ()
    """One answer to each known call and request that Foundry waits for: the output of a tool that
    ran, or else a refusal, which an answer of the caller replaces."""


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
    calls: tuple[ClientCall, ...] = ()
    """Calls that the caller runs; their outputs are sent with the next message."""
    requests: tuple[ToolRequest, ...] = ()
    """What tools that Foundry runs ask of the caller."""
    owed: tuple[JsonObject, ...] = ()
    """The answers that Foundry waits for before anything else, see `ThreadRef.owed`."""
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
