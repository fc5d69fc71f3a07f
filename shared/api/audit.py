"""`GET /audit`: the audit records of the caller, and for admins those of every owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, NotRequired
from urllib.parse import urlencode

from pydantic import Field

from ..audit.reading import AuditPage, AuditQuery, AuditReader, CursorError
from ..audit.trail import Action, AuditOutcome
from ..documents import Document
from ..http.answers import Answer
from ..http.field_errors import invalid_field
from ..http.principal import NOT_ADMIN
from ..http.query import Boolean, Day, Query, whole_number
from ..http.request import Incoming
from ..problems import ProblemError
from ..state.lanes import Clock

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
DEFAULT_DAYS = 7
MAX_DAYS = 31
"""In one query: each day of an owner is one partition and takes one storage request."""

JSON_LINES = "application/x-ndjson"


class AuditRecordsQuery(Query):
    """The query of `GET /audit`."""

    first: Day | None = Field(default=None, alias="from")
    """First day, in UTC; at most 30 days before the last one, and by default 6."""

    last: Day | None = Field(default=None, alias="to")
    """Last day, in UTC; by default today."""

    action: Action | None = None
    """Only records of this action."""

    outcome: AuditOutcome | None = None
    """Only records of this outcome."""

    thread_id: str | None = None
    """Only records of this thread."""

    job_id: str | None = None
    """Only records of this job."""

    subject: str | None = None
    """Only records of this caller: `key:<key id>`, for example."""

    face: str | None = None
    """Only records of this face: `api`, `openai`, `mcp` or `queue`."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE), whole_number] = PAGE_SIZE
    """The most records of the page."""

    cursor: str | None = None
    """The `next_cursor` of the page before."""

    all_owners: Boolean = False
    """The records of every owner; for admins."""


class AuditRecordDocument(Document):
    """One recorded action; what is unknown is absent."""

    action: Action
    at: str
    owner: str
    subject: str
    actor: str
    how: str
    """How the caller was authenticated."""
    face: NotRequired[str]
    """What was called: `api`, `openai`, `mcp` or `queue`."""
    outcome: AuditOutcome
    code: NotRequired[str]
    agent_id: NotRequired[str]
    agent_identity: NotRequired[str]
    model: NotRequired[str]
    thread_id: NotRequired[str]
    turn_id: NotRequired[str]
    job_id: NotRequired[str]
    response_id: NotRequired[str]
    request_id: NotRequired[str]
    foundry_request_id: NotRequired[str]
    tool: NotRequired[str]
    arguments_hash: NotRequired[str]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    latency: NotRequired[float]
    """Seconds."""
    key_id: NotRequired[str]
    """The client key that was created, read or revoked."""
    erasure_id: NotRequired[str]
    deleted: NotRequired[int]
    """Rows that an erasure has deleted."""


class AuditRecordsPage(Document):
    """A page of records."""

    data: list[AuditRecordDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last."""


@dataclass(frozen=True, slots=True)
class AuditApi:
    """Handlers of `/audit`."""

    reader: AuditReader
    clock: Clock

    async def list_(self, incoming: Incoming) -> Answer:
        """A page of records, newest first, as JSON or, if the caller accepts it, JSON lines."""
        asked = incoming.parameters_as(AuditRecordsQuery)
        wanted = _query(incoming, asked, self.clock().date())
        try:
            page = await self.reader.page(wanted, asked.limit, asked.cursor)
        except CursorError:
            raise invalid_field("cursor", "must be the next_cursor of an earlier page") from None
        records = [record.to_json() for record in page.records]
        if JSON_LINES not in incoming.request.headers.get("accept", ""):
            return Answer({"data": records, "next_cursor": page.next_cursor})
        return Answer(None, headers=_link(incoming, page), lines=records)


def _query(incoming: Incoming, asked: AuditRecordsQuery, today: date) -> AuditQuery:
    last = asked.last or today
    first = asked.first or last - timedelta(days=DEFAULT_DAYS - 1)
    if not timedelta() <= last - first < timedelta(days=MAX_DAYS):
        raise invalid_field("from", f"must be at most {MAX_DAYS - 1} days before to, and not after")
    if asked.all_owners and not incoming.principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    where = {
        "action": asked.action,
        "outcome": asked.outcome,
        "thread_id": asked.thread_id,
        "job_id": asked.job_id,
        "subject": asked.subject,
        "face": asked.face,
    }
    given = tuple((name, text) for name, text in where.items() if text is not None)
    return AuditQuery(None if asked.all_owners else incoming.owner, first, last, given)


def _link(incoming: Incoming, page: AuditPage) -> dict[str, str]:
    """The `Link` header with the address of the next page (RFC 8288)."""
    if page.next_cursor is None:
        return {}
    query = urlencode({**incoming.request.query_params, "cursor": page.next_cursor})
    return {"Link": f'<{incoming.request.url.path}?{query}>; rel="next"'}
