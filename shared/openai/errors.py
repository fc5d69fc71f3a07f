"""Errors in OpenAI's form, made of problem documents, and whether to send the request again.

Only this module maps problems to OpenAI's types and codes. The official clients repeat 408, 409,
429 and 5xx unless `x-should-retry` forbids it, so every error has that header. A request that may
have run is not repeated; one that had no effect may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from ..config.spending import Period
from ..documents import Document
from ..http.answers import Answer
from ..http.faces import Face, Refusal
from ..http.operation import ErrorForm
from ..problems import Problem, ProblemKind, kind_of
from ..text import to_json_bytes
from .rate_limits import refused_by

JSON = "application/json"

SHOULD_RETRY = "x-should-retry"
RETRY_AFTER_MS = "retry-after-ms"
PROCESSING_MS = "openai-processing-ms"


class ErrorMembers(Document):
    """What went wrong."""

    message: str
    """What is wrong and what to do, for people."""
    type: str
    """The group of the error."""
    param: str | None
    """The field of the request that is wrong."""
    code: str | None
    """What is wrong, for programs."""


class ErrorDocument(Document):
    """An error in OpenAI's form."""

    error: ErrorMembers


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of problem is shown."""

    status: int
    type: str
    code: str
    retry: bool = False
    """Whether the request had no effect, and may succeed when it is sent again."""


_MISTAKE = "invalid_request_error"
_QUOTA = "insufficient_quota"
_RATE = "rate_limit_exceeded"
_CONFLICT = "conflict_error"
_SERVER = "server_error"

_FORMS = {
    ProblemKind.UNAUTHORIZED: _Form(401, _MISTAKE, "invalid_api_key"),
    ProblemKind.FORBIDDEN: _Form(403, "permission_error", "forbidden"),
    ProblemKind.BODY_TIMEOUT: _Form(408, _MISTAKE, "body_timeout", retry=True),
    ProblemKind.THREAD_BUSY: _Form(409, _CONFLICT, "conversation_locked", retry=True),
    ProblemKind.BUDGET_SPENT: _Form(429, _QUOTA, _QUOTA),
    ProblemKind.BUDGET_TOO_SMALL: _Form(429, _QUOTA, _QUOTA),
    ProblemKind.BUDGET_RESERVED: _Form(429, _RATE, _RATE, retry=True),
    ProblemKind.OWNER_LIMIT: _Form(429, _RATE, _RATE, retry=True),
    ProblemKind.RATE_LIMITED: _Form(429, _RATE, _RATE, retry=True),
    ProblemKind.CIRCUIT_OPEN: _Form(503, _SERVER, "circuit_open", retry=True),
}
"""The kinds that do not follow from their status."""

_TRANSIENT = {ProblemKind.STORAGE_UNAVAILABLE, ProblemKind.STORAGE_CONTENTION}
"""May be raised before a request has an effect, and after it."""

_TYPES = {HTTPStatus.CONFLICT: _CONFLICT, HTTPStatus.TOO_MANY_REQUESTS: _RATE}


def _form(kind: ProblemKind) -> _Form:
    if known := _FORMS.get(kind):
        return known
    status = kind.status
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:  # clients expect 400 for a wrong field
        status = HTTPStatus.BAD_REQUEST
    default = _MISTAKE if status < HTTPStatus.INTERNAL_SERVER_ERROR else _SERVER
    return _Form(status, _TYPES.get(HTTPStatus(status), default), kind.code)


def _kind(problem: Mapping[str, Any]) -> ProblemKind:
    """The kind of a problem document; a budget that stays used up for a day or longer is spent."""
    kind = kind_of(problem["status"], problem["code"])
    is_long = problem.get("budget", {}).get("per") in {Period.DAY, Period.MONTH}
    return ProblemKind.BUDGET_SPENT if kind is ProblemKind.BUDGET_RESERVED and is_long else kind


def error_document(problem: Mapping[str, Any]) -> ErrorDocument:
    """A problem document in OpenAI's form."""
    form = _form(_kind(problem))
    errors = problem.get("errors")
    return {
        "error": {
            "message": problem["detail"],
            "type": form.type,
            "param": indexed(errors[0]["field"]) if errors else None,
            "code": form.code,
        }
    }


def indexed(field: str) -> str:
    """The name of a field as OpenAI writes it: `messages[0].role` for `messages.0.role`."""
    first, *rest = field.split(".")
    return first + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)


def _shown(problem: Problem) -> tuple[int, Any]:
    return _form(problem.kind).status, error_document(problem.to_json())


ERRORS = ErrorForm(ErrorDocument, _shown)
"""The errors of the face in the API document."""


def _refuse(refusal: Refusal) -> Answer:
    """The answer to a request that was refused or failed."""
    problem = refusal.answer.body or {}
    kind = _kind(problem)
    form = _form(kind)
    retry = form.retry or (kind in _TRANSIENT and not refusal.may_have_run)
    headers = {**refusal.answer.headers, SHOULD_RETRY: "true" if retry else "false"}
    headers |= refused_by(problem.get("budget", {}), datetime.now(UTC))
    if (seconds := problem.get("retry_after")) is not None:
        headers[RETRY_AFTER_MS] = str(round(seconds * 1000))
    content = to_json_bytes(error_document(problem))
    return Answer(None, form.status, headers, content=content, media_type=JSON)


def _headers(seconds: float) -> Mapping[str, str]:
    return {PROCESSING_MS: str(round(seconds * 1000))}


OPENAI = Face("openai", _refuse, _headers)


def unknown_url(addresses: list[str]) -> Problem:
    """The problem of a request to an address that the face does not have."""
    listed = ", ".join(addresses)
    detail = f"There is no such address. The OpenAI-compatible API has {listed}."
    return Problem(ProblemKind.UNKNOWN_URL, detail)
