"""Problem documents: the answers to requests that fail (RFC 9457).

Only this module maps errors to HTTP statuses and codes; `ProblemKind` lists them all. A failed job
has the same document. An error that is not mapped here is a bug: the caller gets `internal_error`
without the error's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, NotRequired

from pydantic import WithJsonSchema
from typing_extensions import TypeAliasType

from .config.spending import Period
from .documents import Document
from .foundry import errors as foundry
from .metering.budgets.limits import BudgetExhaustedError, BudgetTooSmallError, Limit, Measure
from .metering.owner_limits import LimitError, OwnerLimit
from .state import errors as state

PROBLEM_TYPE = "about:blank"
"""Status and `code` identify a problem; no page is published for a type."""

_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""The names in RFC 9110, where Python before 3.13 has older ones."""


# One kind a line, however long.
# fmt: off
# ruff: noqa: E501
class ProblemKind(Enum):
    """Every kind of problem: its status, its code, and what it means for the caller."""

    INVALID_JSON = 400, "invalid_json", "the body is not JSON"
    FOUNDRY_REFUSED = 400, "invalid_request", "Foundry, or the configured agent, cannot take the request"
    TOOLS_NOT_SUPPORTED = 400, "tools_not_supported", "the model does not support tools; leave them out, or name another model"
    SET_BY_AGENT = 400, "set_by_agent", "the configured agent sets this option itself"
    UNKNOWN_TOOL = 400, "unknown_tool", "there is no such tool; `detail` lists those there are"
    TOOL_NOT_IN_AGENT = 400, "tool_not_in_agent", "the configured agent lacks the tool; `detail` lists those it has"
    MODEL_REFUSED = 400, "refused", "the model refused to give a structured answer"
    UNSUPPORTED_PARAMETER = 400, "unsupported_parameter", "of the OpenAI-compatible API: a field that cannot be honoured, and without which the answer would mean something else"
    UNAUTHORIZED = 401, "unauthorized", "the caller is not authenticated; the app's log has the reason"
    BUDGET_SPENT = 402, "budget_exhausted", "a budget is used up; `budget` says which, what is left and when it resets"
    FORBIDDEN = 403, "forbidden", "the caller lacks the role `Agents.Use`, or, for admin functions, `Agents.Admin`; or its client key does not allow the model or tool, and `errors` says which it allows"
    NOT_FOUND = 404, "not_found", "no such address, or no such object of yours"
    MODEL_NOT_FOUND = 404, "model_not_found", "the model that the request names does not exist; `detail` says which do, if the settings list them"
    UNKNOWN_URL = 404, "unknown_url", "of the OpenAI-compatible API: no such address; `detail` lists those there are"
    METHOD_NOT_ALLOWED = 405, "method_not_allowed", "`Allow` lists the methods of the address"
    BODY_TIMEOUT = 408, "body_timeout", "the body did not arrive within 15 s"
    THREAD_BUSY = 409, "thread_busy", "another turn runs on the thread; `Retry-After` says when to try again"
    IDEMPOTENCY_IN_PROGRESS = 409, "idempotency_in_progress", "the request with this `Idempotency-Key` still runs; see `Retry-After`"
    ANSWER_NOT_KEPT = 409, "answer_not_kept", "the request succeeded before, but its answer was too long to store, or its texts are not stored"
    JOB_ENDED = 409, "job_ended", "a job that has ended cannot be cancelled"
    LEASE_LOST = 409, "lease_lost", "the turn was suspended for so long that another worker took over its thread"
    CANCELLED = 409, "cancelled", "of a job only: it was cancelled"
    LANE_STOPPED = 409, "lane_stopped", "of a job only: an earlier job of its thread failed and had `stop_lane_on_failure`"
    EXPIRED = 410, "expired", "of a job only: it had not started when `expires_in` was over"
    TOO_LARGE = 413, "too_large", "the body is larger than 4 MiB, or the message or the job is too large"
    UNSUPPORTED_MEDIA_TYPE = 415, "unsupported_media_type", "send `Content-Type: application/json`, in UTF-8 and not compressed"
    INVALID_REQUEST = 422, "invalid_request", "a field or a query parameter is wrong or unknown; `errors` lists each"
    INVALID_CONTENT = 422, "invalid_content", "an image or file cannot be used; `errors` says which"
    INVALID_RESPONSE_FORMAT = 422, "invalid_response_format", "the response format cannot be used; `errors` says why"
    INVALID_TOOLS = 422, "invalid_tools", "the functions that the caller runs cannot be used; `errors` says why"
    UNKNOWN_CALL = 422, "unknown_call", "an output or approval answers nothing that is open on the thread; `errors` says which"
    CONTENT_FILTER = 422, "content_filter", "a content filter stopped the question or the answer"
    IDEMPOTENCY_MISMATCH = 422, "idempotency_mismatch", "the `Idempotency-Key` was used for another request"
    BUDGET_TOO_SMALL = 422, "budget_too_small", "the request may need more than a whole budget and can never run; `budget` says which, and how much it may need"
    CALLBACK_REFUSED = 422, "outlet_refused", "a callback or reply queue that the settings do not allow; `errors` says which"
    METADATA_FULL = 422, "metadata_full", "a thread has at most 16 metadata pairs"
    BUDGET_RESERVED = 429, "budget_exhausted", "running turns have reserved the rest of a budget; `budget` says which, see `Retry-After`"
    OWNER_LIMIT = 429, "owner_limit", "you have too many concurrent or waiting requests, or created too many threads within a minute; `limit` says which, see `Retry-After`"
    RATE_LIMITED = 429, "rate_limited", "the model deployment's quota is used up; see `Retry-After`"
    INTERNAL_ERROR = 500, "internal_error", "a fault in the app; give the request id to the operator of the service"
    WORKER_LOST = 500, "worker_lost", "of a job only: 10 workers in a row crashed while they ran it"
    FOUNDRY_MISSING = 502, "not_found", "Foundry has no such agent, model or conversation"
    PROTOCOL_ERROR = 502, "protocol_error", "Foundry sent something that is not an answer, such as a proxy's page"
    RESPONSE_FORMAT_MISMATCH = 502, "response_format_mismatch", "the answer does not follow the response format; `detail` says where"
    CONFIGURATION_ERROR = 503, "configuration_error", "the app is not configured correctly; `detail` names the setting"
    AUTHENTICATION_FAILED = 503, "authentication_failed", "Foundry does not accept the app's credential; `detail` names the setting"
    PERMISSION_DENIED = 503, "permission_denied", "the app lacks a role in Foundry; `detail` names it"
    CIRCUIT_OPEN = 503, "circuit_open", "the model failed 5 times in a row and is not called; `Retry-After` says how long"
    QUOTA_EXHAUSTED = 503, "quota_exhausted", "the account at the model's provider has no credit left; waiting does not help"
    NOT_READY = 503, "not_ready", "of `GET /health/ready` only: a dependency does not work; `checks` says which and how to fix it"
    SERVICE_UNAVAILABLE = 503, "service_unavailable", "Foundry cannot be reached, or failed"
    STREAM_INTERRUPTED = 503, "stream_interrupted", "the connection to Foundry broke in the middle of an answer"
    STORAGE_UNAVAILABLE = 503, "storage_unavailable", "the storage account cannot be reached"
    STORAGE_CONTENTION = 503, "storage_contention", "too many requests changed the same thread, job or key at once; see `Retry-After`"
    FOUNDRY_ERROR = 503, "foundry_error", "Foundry failed in another way"
    TIMEOUT = 504, "timeout", "no answer within `FOUNDRY_TIMEOUT`; submit long work as a job"
    # fmt: on

    def __init__(self, status: int, code: str, meaning: str) -> None:
        self.status = status
        self.code = code
        self.meaning = meaning
        """The text of the table in the HTTP API page."""


_KINDS = {(kind.status, kind.code): kind for kind in ProblemKind}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request and what is wrong with it."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document without its request id."""

    kind: ProblemKind
    detail: str
    retry_after: float | None = None
    """Seconds to wait before trying again."""
    errors: tuple[FieldError, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Additional members of this kind of problem."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.kind.status

    @property
    def code(self) -> str:
        """The machine-readable code."""
        return self.kind.code

    def to_json(self, request_id: str | None = None) -> dict[str, Any]:
        """The document: the members of RFC 9457 and our own."""
        document: dict[str, Any] = {
            "type": PROBLEM_TYPE,
            "title": _TITLES.get(self.status) or HTTPStatus(self.status).phrase,
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


ProblemCode = TypeAliasType(
    "ProblemCode",
    Annotated[
        str,
        WithJsonSchema({"type": "string", "enum": list(dict.fromkeys(k.code for k in ProblemKind))}),
    ],
)
"""The codes of all kinds, as a type of the API document."""


class FieldErrorDocument(Document):
    """One wrong field or parameter."""

    field: str
    reason: str


class BudgetDocument(Document):
    """The budget that a request would exceed."""

    subject: str
    """`owner:...`, `department:...` or `key:...`, the id of a client key."""
    of: Measure
    per: Period | None
    limit: float
    left: NotRequired[float]
    resets_at: NotRequired[str]
    needed: NotRequired[float]
    """How much the request may need."""


class ProblemDocument(Document):
    """Why a request, or a job, failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """What is wrong and what to do, for people."""
    code: ProblemCode
    """What is wrong, for programs."""
    request_id: NotRequired[str]
    """Give it to the operator of the service."""
    retry_after: NotRequired[float]
    """Seconds to wait before trying again."""
    errors: NotRequired[list[FieldErrorDocument]]
    budget: NotRequired[BudgetDocument]
    limit: NotRequired[OwnerLimit]
    """The limit of an owner that the request exceeds."""
    thread_id: NotRequired[str | None]


class ProblemError(Exception):
    """Raised by code that knows the problem document itself, such as request validation."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


# Errors that the caller did not cause become 502 to 504; 503 is for configuration and network.
_FOUNDRY: dict[type[foundry.FoundryError], HTTPStatus] = {
    foundry.ContentFilteredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    foundry.InvalidRequestError: HTTPStatus.BAD_REQUEST,
    foundry.ThreadBusyError: HTTPStatus.CONFLICT,
    foundry.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    foundry.TimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    foundry.ModelNotFoundError: HTTPStatus.NOT_FOUND,
    foundry.NotFoundError: HTTPStatus.BAD_GATEWAY,
    foundry.ProtocolError: HTTPStatus.BAD_GATEWAY,
    foundry.FoundryError: HTTPStatus.SERVICE_UNAVAILABLE,
}

_UNUSABLE = {
    "invalid_content": "images",
    "invalid_response_format": "response_format",
    "invalid_tools": "tools",
}
"""Codes of requests that are refused before Foundry is called, with the invalid field."""

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

NOT_FOUND = Problem(ProblemKind.NOT_FOUND, "There is no such address, or no such object of yours.")

INTERNAL_ERROR = Problem(
    ProblemKind.INTERNAL_ERROR,
    "The app failed unexpectedly. Give the request id to the operator of this service.",
)


def kind_of(status: int, code: str) -> ProblemKind:
    """The kind with a status and a code; `FOUNDRY_ERROR` for an unknown pair."""
    return _KINDS.get((status, code), ProblemKind.FOUNDRY_ERROR)


def problem_from(error: Exception) -> Problem:
    """Map an error to the problem that the caller receives."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, foundry.FoundryError) and error.code != INTERNAL_ERROR.code:
        return _of_foundry(error)
    if isinstance(error, state.RowMissingError):
        return NOT_FOUND
    if isinstance(error, (BudgetExhaustedError, BudgetTooSmallError, LimitError)):
        return _beyond_limit(error)
    if isinstance(error, state.StateError) and (status := _STATE.get(type(error))):
        return Problem(kind_of(status, error.code), str(error), getattr(error, "retry_after", None))
    return INTERNAL_ERROR


def _of_foundry(error: foundry.FoundryError) -> Problem:
    status = next(status for kind, status in _FOUNDRY.items() if isinstance(error, kind))
    match error:
        case foundry.UnknownCallError():
            status, field_name = HTTPStatus.UNPROCESSABLE_ENTITY, error.field
        case foundry.InvalidRequestError() if error.code in _UNUSABLE:
            status, field_name = HTTPStatus.UNPROCESSABLE_ENTITY, _UNUSABLE[error.code]
        case foundry.ModelNotFoundError():
            field_name = "model"
        case _:
            field_name = None
    errors = (FieldError(field_name, error.message),) if field_name else ()
    return Problem(kind_of(status, error.code), error.message, error.retry_after, errors)


def _beyond_limit(error: BudgetExhaustedError | BudgetTooSmallError | LimitError) -> Problem:
    match error:
        case BudgetExhaustedError():
            return _budget_exhausted(error)
        case BudgetTooSmallError():
            return _budget_too_small(error)
        case LimitError():
            return _limit_reached(error)


def _limit_reached(error: LimitError) -> Problem:
    """408 for a body that arrives too slowly, 429 for too many concurrent requests."""
    is_slow = error.limit is OwnerLimit.BODY_SECONDS
    kind = ProblemKind.BODY_TIMEOUT if is_slow else ProblemKind.OWNER_LIMIT
    return Problem(kind, str(error), error.retry_after, more={"limit": error.limit.value})


def _budget_exhausted(error: BudgetExhaustedError) -> Problem:
    """402 if the budget is used up until it resets, 429 if running turns have reserved the rest."""
    limit = error.limit
    budget = {
        **_budget(limit),
        "left": limit.shown(error.left),
        "resets_at": error.resets_at.isoformat(timespec="seconds"),
    }
    kind = ProblemKind.BUDGET_SPENT if error.is_spent else ProblemKind.BUDGET_RESERVED
    return Problem(kind, str(error), error.retry_after, more={"budget": budget})


def _budget_too_small(error: BudgetTooSmallError) -> Problem:
    """422 without `retry_after`, because the request can never succeed."""
    budget = {**_budget(error.limit), "needed": error.limit.shown(error.need)}
    return Problem(ProblemKind.BUDGET_TOO_SMALL, str(error), more={"budget": budget})


def _budget(limit: Limit) -> dict[str, Any]:
    return {
        "subject": limit.subject,
        "of": limit.measure.value,
        "per": limit.period.value if limit.period else None,
        "limit": limit.shown(limit.amount),
    }
