"""Turns a service's answer that reports a failure into our errors.

Services answer in several shapes (Foundry's, OpenAI's, vLLM's, API Management's, a gateway's HTML
page); all of them are read here. What they mean is decided in `classification`.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/troubleshoot
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..text import parse_json
from .classification import Kind, kind_of
from .errors import (
    AuthenticationError,
    ContentFilteredError,
    FoundryError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitedError,
    ServiceUnavailableError,
    ThreadBusyError,
    TimeoutError,
    UnknownFailureError,
)
from .waits import retry_after
from .wire_json import JsonObject, object_at, objects_at

MAX_MESSAGE_CHARS = 2000
"""Of a service's own text in ours."""

MAX_DEPTH = 5
"""Of errors within errors."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The service that a transport talks to, as the texts of errors name it."""

    name: str
    endpoint_setting: str
    """The setting that says where the service is."""
    sign_in: str
    """What to do when it refuses the key or token (401)."""
    access: str
    """What to do when it knows the caller and lets it do nothing (403)."""
    missing: str
    """What to do when it does not know what was asked for (404)."""


FOUNDRY = Peer(
    name="Foundry",
    endpoint_setting="FOUNDRY_AGENT_SERVICE_ENDPOINT",
    sign_in="Check the API key, or that the token was issued for https://ai.azure.com.",
    access=(
        "Give the app's identity the role 'Foundry User' (formerly 'Azure AI User') on the "
        "Foundry project; a new assignment takes some minutes to apply."
    ),
    missing="Check the names of agent and model deployment; conversations can expire.",
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The codes and the reason of a failure, read from any of the shapes."""

    code: str = ""
    """The outermost code, for people."""
    message: str = ""
    codes: tuple[str, ...] = ()
    """All codes, from the outside in."""
    types: tuple[str, ...] = ()
    """What kind of error the service says it is."""
    parts: tuple[JsonObject, ...] = field(default=(), repr=False)
    """The objects it was read from, from the inside out."""

    @classmethod
    def parse(cls, content: bytes) -> ErrorBody:
        """Read a body; an unreadable one gives an empty code and text."""
        try:
            body: Any = parse_json(content)
        except ValueError:
            return cls()
        return cls.from_json(body)

    @classmethod
    def from_json(cls, body: Any) -> ErrorBody:
        """Read the `error` of a body, or the body itself where it is flat."""
        if not isinstance(body, dict):
            return cls()
        outer = cast("JsonObject", body)
        inner = outer.get("error")
        error = cast("JsonObject", inner) if isinstance(inner, dict) else outer
        parts = [*_parts(error)]
        if error is not outer:
            parts.append(outer)
        codes = [code for part in parts for code in _codes(part)]
        types = [str(part[name]) for part in parts for name in _TYPES if part.get(name)]
        message = error.get("message") or error.get("detail")
        if not message and isinstance(inner, str):
            message = inner
        return cls(
            next(_codes({"code": error.get("code")}), "")[:100],
            str(message or "")[:MAX_MESSAGE_CHARS],
            tuple(codes),
            tuple(types),
            tuple(reversed(parts)),
        )


_TYPES = ("type", "error_type")
_STATUSES = ("status", "statusCode", "status_code")


def _parts(error: JsonObject, depth: int = MAX_DEPTH) -> Iterator[JsonObject]:
    """An error and the errors within it, from the outside in."""
    yield error
    if depth:
        inner = [object_at(error, "innererror"), *objects_at(error, "details")[:MAX_DEPTH]]
        for part in filter(None, inner):
            yield from _parts(part, depth - 1)


def _codes(part: JsonObject) -> Iterator[str]:
    """The codes of an error object; a status in it counts as a code."""
    for name in ("code", *_STATUSES):
        value = part.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    request_id: str | None,
    peer: Peer = FOUNDRY,
) -> FoundryError:
    """The error for an HTTP answer of 400 or above."""
    body = ErrorBody.parse(content)
    kind = kind_of(status, body.codes, body.types, body.message)
    text = f"{peer.name} answered {status}"
    if body.code:
        text += f" ({body.code})"
    if body.message:
        text += f": {body.message}"
    return kind(
        f"{text.rstrip('.')}. {_advice(kind, peer)}",
        status_code=status,
        request_id=request_id,
        retry_after=retry_after(headers, body.message, body.parts),
        may_have_run=status >= 499,
    )


def error_from_failure(
    error: Mapping[str, Any] | None,
    request_id: str | None,
    peer: Peer = FOUNDRY,
    headers: Mapping[str, str] | None = None,
) -> FoundryError:
    """The error inside an answer that arrived with HTTP 200."""
    body = ErrorBody.from_json(error or {})
    kind = kind_of(None, body.codes, body.types, body.message)
    text = (
        f"{peer.name} could not finish the answer ({body.code or 'no code'}): "
        f"{body.message or 'no reason given'}"
    )
    failure = kind(
        f"{text.rstrip('.')}. {_advice(kind, peer)}",
        request_id=request_id,
        retry_after=retry_after(headers or {}, body.message, body.parts),
        may_have_run=True,
    )
    failure.answer_may_come = False
    return failure


def _advice(kind: Kind, peer: Peer) -> str:
    """What to do about a kind of failure."""
    advice: dict[Kind, str] = {
        ContentFilteredError: "Rephrase the message; sending it again will not help.",
        ThreadBusyError: "Another turn runs on this conversation; try again shortly.",
        QuotaExhaustedError: (
            f"The account at {peer.name} has used up its credit or quota: its owner must raise "
            "the limit or settle the bill."
        ),
        RateLimitedError: "Wait, or raise the quota of the model deployment.",
        AuthenticationError: peer.sign_in,
        PermissionDeniedError: peer.access,
        ModelNotFoundError: peer.missing,
        NotFoundError: peer.missing,
        TimeoutError: f"{peer.name} gave up waiting; try again.",
        InvalidRequestError: "Correct the request before sending it again.",
        ServiceUnavailableError: f"The fault is on {peer.name}'s side; try again.",
        UnknownFailureError: f"{peer.name} gave no reason that is known; try again later.",
    }
    return advice[kind]
