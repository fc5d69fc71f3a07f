"""What a handler answers: a document, a text, or a stream of events."""

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
    """A whole answer."""

    body: dict[str, Any] | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict[str, str])
    lines: Sequence[dict[str, Any]] | None = None
    """In place of a body: JSON documents, one a line."""
    text: str | None = None
    """In place of a body: a text of the media type ``media_type``."""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is sent piece by piece."""

    chunks: AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict[str, str])


Handler = Callable[[Incoming], Awaitable[Answer | Streamed]]
OpenHandler = Callable[[Incoming], Awaitable[Answer]]
"""The handler of a route that any caller may use, without a key or a token."""


def accepts_events(request: Request) -> bool:
    """Whether a caller wants the answer as a stream of events."""
    return EVENT_STREAM in request.headers.get("accept", "").lower()
