"""Problems: what a caller is told when something goes wrong (RFC 9457).

This is the one place that decides which HTTP status and code an error becomes. A job that failed
carries the same document. What is not known here is a bug and is reported without its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from .foundry import errors as foundry
from .metering.budgets.limits import BudgetExhaustedError, BudgetTooSmallError, Limit
from .metering.owner_limits import LimitError, OwnerLimit
from .state import errors as state

PROBLEM_TYPE = "about:blank"
"""The status and `code` say it all; there is no page behind a type."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request and what is wrong with it."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document, the request id aside."""

    status: int
    code: str
    detail: str
    retry_after: float | None = None
    """Seconds to wait before trying again."""
    errors: tuple[FieldError, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Members of its own that a kind of problem has."""

    def to_json(self, request_id: str | None = None) -> dict[str, Any]:
        """The members of RFC 9457, and ours."""
        document: dict[str, Any] = {
            "type": PROBLEM_TYPE,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if request_id:
            document["request_id"] = request_id
        if self.retry_after is not None:
            document["retry_after"] = round(self.retry_after, 3)
        if self.errors:
            document["errors"] = [
                {"field": error.field, "reason": error.reason} for error in self.errors
            ]
        return {**document, **self.more}


class ProblemError(Exception):
    """Raised where the problem is known at once, such as in a request that cannot be right."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


# Errors that are not the caller's doing become 502 to 504; those of set-up and reach, 503.
_FOUNDRY: dict[type[foundry.FoundryError], HTTPStatus] = {
    foundry.ContentFilteredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    foundry.InvalidRequestError: HTTPStatus.BAD_REQUEST,
    foundry.ThreadBusyError: HTTPStatus.CONFLICT,
    foundry.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    foundry.TimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    foundry.NotFoundError: HTTPStatus.BAD_GATEWAY,
    foundry.ProtocolError: HTTPStatus.BAD_GATEWAY,
    foundry.FoundryError: HTTPStatus.SERVICE_UNAVAILABLE,
}

_UNUSABLE = {"invalid_content": "images", "invalid_response_format": "response_format"}
"""Refused here, before Foundry is asked, with the field that is wrong."""

_STATE: dict[type[state.StateError], HTTPStatus] = {
    state.ConditionTooLongError: HTTPStatus.UNPROCESSABLE_ENTITY,
    state.JobEndedError: HTTPStatus.CONFLICT,
    state.KeyInUseError: HTTPStatus.CONFLICT,
    state.KeyMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    state.LaneBusyError: HTTPStatus.CONFLICT,
    state.LeaseLostError: HTTPStatus.CONFLICT,
    state.MetadataFullError: HTTPStatus.UNPROCESSABLE_ENTITY,
    state.DocumentTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    state.StorageContentionError: HTTPStatus.SERVICE_UNAVAILABLE,
    state.StorageUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}

BUDGET_EXHAUSTED = "budget_exhausted"
OWNER_LIMIT = "owner_limit"
BODY_TIMEOUT = "body_timeout"
BUDGET_TOO_SMALL = "budget_too_small"

NOT_FOUND = Problem(
    HTTPStatus.NOT_FOUND, "not_found", "There is nothing of yours under this address."
)

INTERNAL_ERROR = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something broke on our side. Give the request id to whoever runs this service.",
)


def problem_from(error: Exception) -> Problem:
    """The problem that an error is for the caller."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, foundry.InvalidRequestError) and error.code in _UNUSABLE:
        errors = (FieldError(_UNUSABLE[error.code], error.message),)
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, error.message, errors=errors)
    if isinstance(error, foundry.FoundryError) and error.code != INTERNAL_ERROR.code:
        status = next(status for kind, status in _FOUNDRY.items() if isinstance(error, kind))
        return Problem(status, error.code, error.message, error.retry_after)
    if isinstance(error, state.RowMissingError):
        return NOT_FOUND
    if isinstance(error, (BudgetExhaustedError, BudgetTooSmallError, LimitError)):
        return _beyond_limit(error)
    if isinstance(error, state.StateError) and (status := _STATE.get(type(error))):
        return Problem(status, error.code, str(error), getattr(error, "retry_after", None))
    return INTERNAL_ERROR


def _beyond_limit(error: BudgetExhaustedError | BudgetTooSmallError | LimitError) -> Problem:
    match error:
        case BudgetExhaustedError():
            return _budget_exhausted(error)
        case BudgetTooSmallError():
            return _budget_too_small(error)
        case LimitError():
            return _limit_reached(error)


def _limit_reached(error: LimitError) -> Problem:
    """408 for a body that comes too slowly, 429 for too much at once."""
    status, code = HTTPStatus.TOO_MANY_REQUESTS, OWNER_LIMIT
    if error.limit is OwnerLimit.BODY_SECONDS:
        status, code = HTTPStatus.REQUEST_TIMEOUT, BODY_TIMEOUT
    return Problem(status, code, str(error), error.retry_after, more={"limit": error.limit.value})


def _budget_exhausted(error: BudgetExhaustedError) -> Problem:
    """402 for what is used up until it resets, 429 for too much at once."""
    limit = error.limit
    budget = {
        **_budget(limit),
        "left": limit.shown(error.left),
        "resets_at": error.resets_at.isoformat(timespec="seconds"),
    }
    status = HTTPStatus.PAYMENT_REQUIRED if error.is_spent else HTTPStatus.TOO_MANY_REQUESTS
    return Problem(status, BUDGET_EXHAUSTED, str(error), error.retry_after, more={"budget": budget})


def _budget_too_small(error: BudgetTooSmallError) -> Problem:
    """422: the request is refused for good, so there is no `retry_after`."""
    budget = {**_budget(error.limit), "needed": error.limit.shown(error.need)}
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return Problem(status, BUDGET_TOO_SMALL, str(error), more={"budget": budget})


def _budget(limit: Limit) -> dict[str, Any]:
    return {
        "subject": limit.subject,
        "of": limit.measure.value,
        "per": limit.period.value if limit.period else None,
        "limit": limit.shown(limit.amount),
    }
