"""`GET /audit`: the audit records of the caller, and for admins those of every owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from ..audit.reading import AuditPage, AuditQuery, AuditReader, CursorError
from ..audit.trail import Action, AuditOutcome
from ..http.answers import Answer
from ..http.principal import NOT_ADMIN
from ..http.request import Incoming, invalid_field, query
from ..problems import ProblemError
from ..state.lanes import Clock

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
DEFAULT_DAYS = 7
MAX_DAYS = 31
"""In one query: each day of an owner is one partition and takes one storage request."""

JSON_LINES = "application/x-ndjson"

_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class AuditApi:
    """Handlers of `/audit`."""

    reader: AuditReader
    clock: Clock

    @query(
        "from", "to", "action", "outcome", "thread_id", "job_id", "limit", "cursor", "all_owners"
    )
    async def list_(self, incoming: Incoming) -> Answer:
        """A page of records, newest first, as JSON or, if the caller accepts it, JSON lines."""
        wanted = _query(incoming, self.clock().date())
        limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
        try:
            page = await self.reader.page(wanted, limit, incoming.query.get("cursor"))
        except CursorError:
            raise invalid_field("cursor", "must be the next_cursor of an earlier page") from None
        records = [record.to_json() for record in page.records]
        if JSON_LINES not in incoming.request.headers.get("accept", ""):
            return Answer({"data": records, "next_cursor": page.next_cursor})
        return Answer(None, headers=_link(incoming, page), lines=records)


def _query(incoming: Incoming, today: date) -> AuditQuery:
    last = incoming.day("to", today)
    first = incoming.day("from", last - timedelta(days=DEFAULT_DAYS - 1))
    if not timedelta() <= last - first < timedelta(days=MAX_DAYS):
        raise invalid_field("from", f"must be at most {MAX_DAYS - 1} days before to, and not after")
    all_owners = incoming.query.get("all_owners") == "true"
    if all_owners and not incoming.principal.is_admin:
        raise ProblemError(NOT_ADMIN)
    where = {
        "action": _choice(incoming, "action", Action),
        "outcome": _choice(incoming, "outcome", AuditOutcome),
        "thread_id": incoming.query.get("thread_id"),
        "job_id": incoming.query.get("job_id"),
    }
    given = tuple((name, text) for name, text in where.items() if text is not None)
    return AuditQuery(None if all_owners else incoming.owner, first, last, given)


def _choice(incoming: Incoming, name: str, kind: type[_Choice]) -> _Choice | None:
    text = incoming.query.get(name)
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise invalid_field(name, f"must be one of {', '.join(kind)}") from None


def _link(incoming: Incoming, page: AuditPage) -> dict[str, str]:
    """The `Link` header with the address of the next page (RFC 8288)."""
    if page.next_cursor is None:
        return {}
    query = urlencode({**incoming.query, "cursor": page.next_cursor})
    return {"Link": f'<{incoming.request.url.path}?{query}>; rel="next"'}
