"""The answers of handlers: a JSON document, a text or a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from .request import Incoming

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is sent as a whole."""

    body: dict[str, Any] | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict[str, str])
    lines: Sequence[dict[str, Any]] | None = None
    """JSON documents, one per line, instead of a body."""
    content: str | bytes | None = None
    """Content of the media type ``media_type``, instead of a body."""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is sent in chunks."""

    chunks: AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict[str, str])


Handler = Callable[[Incoming], Awaitable[Answer | Streamed]]
OpenHandler = Callable[[Incoming], Awaitable[Answer]]
"""The handler of a route that any caller may use, without a key or a token."""


def accepts_events(request: Request) -> bool:
    """Whether the caller accepts the answer as a stream of events."""
    return EVENT_STREAM in request.headers.get("accept", "").lower()
