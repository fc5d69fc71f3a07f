"""Turns Foundry's refusals into our errors.

The service answers in several shapes (its own, OpenAI's, API Management's, a gateway's HTML
page); all of them end here, and nowhere else decides what a status means.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/troubleshoot
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from .errors import (
    AuthenticationError,
    ContentFilteredError,
    FoundryError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
)
from .peer import FOUNDRY, Peer
from .wire_json import parse_json

MAX_RETRY_AFTER_SECONDS = 120.0
"""Longer waits than this are cut: quota windows are a minute long."""

_SECONDS_IN_PROSE = re.compile(r"try again in (\d+(?:\.\d+)?) seconds?", re.IGNORECASE)
_LOCKED_IN_PROSE = re.compile(r"conversation_locked|already has an active|is active", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The code and text of a refusal, whatever shape it came in."""

    code: str
    message: str

    @classmethod
    def parse(cls, content: bytes) -> ErrorBody:
        """Read a body; an unreadable one gives an empty code and text."""
        try:
            body: Any = parse_json(content)
        except ValueError:
            return cls("", "")
        return cls.from_json(body)

    @classmethod
    def from_json(cls, body: Any) -> ErrorBody:
        """Read the `error` object of a body, or the body itself where it is flat."""
        if not isinstance(body, dict):
            return cls("", "")
        outer = cast("dict[str, Any]", body)
        inner = outer.get("error")
        error = cast("dict[str, Any]", inner) if isinstance(inner, dict) else outer
        return cls(str(error.get("code") or ""), str(error.get("message") or ""))


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    request_id: str | None,
    peer: Peer = FOUNDRY,
) -> FoundryError:
    """The error that an HTTP answer of 400 or above stands for."""
    body = ErrorBody.parse(content)
    kind, advice = _classify(status, body, peer)
    text = f"{peer.name} answered {status}"
    if body.code:
        text += f" ({body.code})"
    if body.message:
        text += f": {body.message}"
    return kind(
        f"{text.rstrip('.')}. {advice}",
        status_code=status,
        request_id=request_id,
        retry_after=retry_after(headers, body.message),
        may_have_run=status >= 500,
    )


def error_from_failure(
    error: Mapping[str, Any] | None, request_id: str | None, peer: Peer = FOUNDRY
) -> FoundryError:
    """The error inside a response that arrived with HTTP 200 and status `failed`."""
    body = ErrorBody.from_json(error or {})
    kind: type[FoundryError] = ServiceUnavailableError
    if body.code in {"rate_limit_exceeded", "429"}:
        kind = RateLimitedError
    elif body.code == "content_filter":
        kind = ContentFilteredError
    elif (
        body.code.startswith(("invalid", "image", "unsupported")) or body.code == "tool_user_error"
    ):
        kind = InvalidRequestError
    failure = kind(
        f"{peer.name} could not finish the answer ({body.code or 'no code'}): "
        f"{body.message or 'no reason given'}",
        request_id=request_id,
        retry_after=retry_after({}, body.message),
        may_have_run=True,
    )
    failure.answer_may_come = False
    return failure


def _classify(status: int, body: ErrorBody, peer: Peer) -> tuple[type[FoundryError], str]:
    if status in {400, 409} and _LOCKED_IN_PROSE.search(f"{body.code} {body.message}"):
        return ThreadBusyError, "Another turn runs on this conversation; try again shortly."
    if body.code == "content_filter":
        return ContentFilteredError, "Rephrase the message; sending it again will not help."
    if status == 403 or body.code == "PermissionDenied":
        return PermissionDeniedError, peer.access
    return _by_status(status, peer)


def _by_status(status: int, peer: Peer) -> tuple[type[FoundryError], str]:
    match status:
        case 401:
            return AuthenticationError, peer.sign_in
        case 404:
            return NotFoundError, peer.missing
        case 408:
            return TimeoutError, f"{peer.name} gave up waiting; try again."
        case 429:
            return RateLimitedError, "Wait, or raise the quota of the model deployment."
        case _ if status >= 500:
            return ServiceUnavailableError, f"The fault is on {peer.name}'s side; try again."
        case _:
            return InvalidRequestError, "Correct the request before sending it again."


def retry_after(headers: Mapping[str, str], message: str = "") -> float | None:
    """Seconds to wait that an answer asks for: header in ms, s or as a date, or in prose."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (seconds := _clamped(headers.get(name, ""), 1000)) is not None:
            return seconds
    if value := headers.get("retry-after"):
        seconds = _clamped(value, 1)
        return _until(value) if seconds is None else seconds
    if prose := _SECONDS_IN_PROSE.search(message):
        return _clamped(prose[1], 1)
    return None


def _clamped(number: str, divisor: float) -> float | None:
    try:
        seconds = float(number) / divisor
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None


def _until(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
