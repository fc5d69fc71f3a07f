"""What an answer that is not a success means for the command: its exit code, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from .errors import (
    CommandError,
    ExitCode,
    NotFoundError,
    NotSignedInError,
    TryAgainError,
)
from .terminal_text import one_line

if TYPE_CHECKING:
    import httpx

MAX_DETAIL_CHARS = 2_000

TEMPORARY = {408, 429, 502, 503, 504}
TEMPORARY_CODES = {"thread_busy", "idempotency_in_progress", "lease_lost"}
LASTING_CODES = {
    "configuration_error",
    "authentication_failed",
    "permission_denied",
    "quota_exhausted",
    "response_format_mismatch",
    "not_found",
    "protocol_error",
}
"""Error codes of 502 and 503 that a retry cannot fix."""

ADVICE = {
    "unauthorized": "Sign in: aos login",
    "forbidden": "See what you may do: aos whoami",
    "not_found": "See what there is: aos threads ls, aos jobs ls",
    "thread_busy": "Wait for the other turn: --wait 100",
    "budget_exhausted": "See what is left and when it resets: aos budgets",
    "budget_too_small": "See the limits: aos budgets",
    "owner_limit": "See the limits: aos whoami",
    "unknown_tool": "See what there is: aos tools",
    "tools_not_supported": "See what there is: aos tools",
    "circuit_open": "See which models work: aos models",
    "timeout": "Submit long work as a job: aos jobs submit",
    "too_large": "Send less, or as several messages",
    "idempotency_mismatch": "Leave --idempotency-key out, or send what was sent with it",
    "idempotency_in_progress": "Run the same command again",
    "configuration_error": "See what is wrong: aos doctor",
    "authentication_failed": "See what is wrong: aos doctor",
    "permission_denied": "See what is wrong: aos doctor",
    "service_unavailable": "See what is wrong: aos doctor",
    "storage_unavailable": "See what is wrong: aos doctor",
    "not_ready": "See what is wrong: aos doctor",
}
"""What to do, by the code of a problem."""

_SECRET = re.compile(r"aos_[0-9a-z]{10}_[0-9A-Za-z]+|eyJ[\w-]+\.eyJ[\w.-]+", re.ASCII)


def exit_code_of(status: int, code: str) -> ExitCode:
    """The exit code for a problem."""
    if status == 401:
        return ExitCode.NOT_SIGNED_IN
    if status == 404:
        return ExitCode.NOT_FOUND
    is_temporary = status in TEMPORARY and code not in LASTING_CODES
    return ExitCode.TRY_AGAIN if is_temporary or code in TEMPORARY_CODES else ExitCode.FAILED


def problem_error(document: dict[str, Any], retry_after: float | None = None) -> CommandError:
    """The error of a problem document, from an answer, an event or a job."""
    status, code = document.get("status"), one_line(str(document.get("code", "")))
    detail = _detail(document)
    request_id = one_line(str(document.get("request_id", "")))[:200]
    advice = ADVICE.get(code, "")
    known_status = status if isinstance(status, int) else 500
    match exit_code_of(known_status, code):
        case ExitCode.NOT_SIGNED_IN:
            kind = NotSignedInError
        case ExitCode.NOT_FOUND:
            kind = NotFoundError
        case ExitCode.TRY_AGAIN:
            wait = document.get("retry_after", retry_after)
            return TryAgainError(
                detail,
                code=code,
                request_id=request_id,
                advice=advice,
                retry_after=float(wait) if isinstance(wait, int | float) else None,
            )
        case _:
            kind = CommandError
    return kind(detail, code=code, request_id=request_id, advice=advice)


def answer_error(answer: httpx.Response) -> CommandError:
    """The error of an answer that is not a success, or not one of this app; its body was read."""
    document = parsed(answer)
    if document is not None and "code" in document:
        return problem_error(document, retry_after(answer))
    status = answer.status_code
    error = problem_error({"status": status, "detail": f"the address answered {status}"})
    error.detail += ", and not as this app does"
    error.advice = "Check the address: aos whoami"
    return error


def parsed(answer: httpx.Response) -> dict[str, Any] | None:
    """The JSON object that an answer is; None if it is something else, such as a proxy's page."""
    try:
        document: object = answer.json()
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], document) if isinstance(document, dict) else None


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds to wait, if the answer says so."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _detail(document: dict[str, Any]) -> str:
    """What went wrong, without control characters and without any key that it may quote."""
    detail = one_line(str(document.get("detail") or document.get("title") or "the app refused"))
    return _SECRET.sub("[key]", detail)[:MAX_DETAIL_CHARS].rstrip(".")
