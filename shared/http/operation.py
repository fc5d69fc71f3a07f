"""The declaration of a route: what it takes and what it answers.

One declaration parses the query, names the body's model, and describes the route in the API
document. Models of answers are TypedDicts or pydantic models; the functions that make answers
return them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from ..problems import Problem, ProblemKind
from ..turns.body import Body
from .query import Query


class Tag(StrEnum):
    """The groups of operations, in the order of the API document."""

    MESSAGES = "Messages"
    THREADS = "Threads"
    JOBS = "Jobs"
    ORCHESTRATION = "Orchestration"
    MCP = "Model Context Protocol"
    CATALOGUE = "Catalogue"
    USAGE = "Usage"
    AUDIT = "Audit"
    KEYS = "Keys"
    OPENAI = "OpenAI"
    PRIVACY = "Privacy"
    SERVICE = "Service"


@dataclass(frozen=True, slots=True)
class Header:
    """A header of requests or answers."""

    name: str
    meaning: str
    example: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


LOCATION = Header("Location", "Address of the created object.", "/api/jobs/job_...")
REPLAYED = Header(
    "Idempotency-Replayed",
    "Present if the answer is that of an earlier request with the same `Idempotency-Key`.",
    "true",
    {"type": "string", "const": "true"},
)
BUDGET_WARNING = Header(
    "x-budget-warning",
    "Present if 80 % or more of a budget is used: which budget, and how much of it.",
    "owner:key tokens per day 85 %",
)
ETAG = Header("ETag", "The version of the answer.", '"5ed08757e53da3e026d6cbecc61fe5d4"')
IF_NONE_MATCH = Header("If-None-Match", "The `ETag` of the version that you have.", '"5ed0..."')
PREFER = Header(
    "Prefer",
    "`respond-async` answers with a job, and `respond-async, wait=10` with the result if it is "
    "there within that many seconds, at most 200 (RFC 7240). Other preferences are ignored.",
    "respond-async, wait=10",
)
PREFERENCE_APPLIED = Header(
    "Preference-Applied",
    "Present if `Prefer` was followed: the preferences that were.",
    "respond-async",
)
NEXT_PAGE = Header("Link", "Address of the next page (RFC 8288).", '</api/audit?...>; rel="next"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One successful answer of an operation."""

    meaning: str
    document: Any = None
    """The type of the JSON document; None for an answer without one."""
    also: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Types of the answer in other media types."""
    headers: tuple[Header, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    """Operations on the object of the answer: their ids, and the member with the object's id."""


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The form of errors that are no problem documents."""

    document: Any
    """The type of their document."""
    show: Callable[[Problem], tuple[int, Any]]
    """The status and the document of a problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and what it answers."""

    id: str
    """Its name in camel case, which generated clients use: never changed."""
    tag: Tag
    summary: str
    description: str = ""
    query: type[Query] = Query
    body: type[Body] | None = None
    headers: tuple[Header, ...] = ()
    """Headers that a request may have, beside `Idempotency-Key` and `x-request-id`."""
    is_keyed: bool = False
    """Whether the request takes an `Idempotency-Key`."""
    results: Mapping[int, Result] = field(default_factory=dict[int, Result])
    events: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The types of the events, if the answer can be streamed."""
    problems: tuple[ProblemKind, ...] = ()
    """Kinds of problems beyond those that follow from the rest of the declaration."""
    problem_documents: Mapping[int, Any] = field(default_factory=dict[int, Any])
    """The types of problems that have more members, by status."""
    errors: ErrorForm | None = None
    """None for problem documents."""
    is_published: bool = True
    """Whether the API document has it."""
    callback: Any = None
    """The type of the document that is sent to the body's `callback_url`."""

    def problem_kinds(self, *, is_open: bool) -> list[ProblemKind]:
        """All kinds of problems that the route may answer with, in the order of the table."""
        kinds = {*EVERYWHERE, *self.problems}
        kinds |= set() if is_open else set(AUTHENTICATED)
        kinds |= set(WITH_BODY) if self.body else set()
        kinds |= set(WITH_KEY) if self.is_keyed else set()
        return [kind for kind in ProblemKind if kind in kinds]


def ok(meaning: str, document: Any = None, **more: Any) -> dict[int, Result]:
    """The results of an operation that answers with 200 only."""
    return {HTTPStatus.OK: Result(meaning=meaning, document=document, **more)}


EVERYWHERE = (ProblemKind.INVALID_REQUEST, ProblemKind.INTERNAL_ERROR)
AUTHENTICATED = (
    ProblemKind.UNAUTHORIZED,
    ProblemKind.FORBIDDEN,
    ProblemKind.OWNER_LIMIT,
    ProblemKind.STORAGE_UNAVAILABLE,
)
WITH_BODY = (
    ProblemKind.INVALID_JSON,
    ProblemKind.BODY_TIMEOUT,
    ProblemKind.TOO_LARGE,
    ProblemKind.UNSUPPORTED_MEDIA_TYPE,
)
WITH_KEY = (
    ProblemKind.IDEMPOTENCY_IN_PROGRESS,
    ProblemKind.IDEMPOTENCY_MISMATCH,
    ProblemKind.ANSWER_NOT_KEPT,
    ProblemKind.STORAGE_CONTENTION,
)
