"""`aos audit`: who did what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from .api import JsonObject
from .commands import Session, command, new_app
from .errors import UsageError
from .listing import Limit
from .output import Column, Format, at, moment, text_of

app = new_app("Follow or export the audit trail.")

POLL_SECONDS = 2.0
MAX_DAYS = 31
"""The most days of one request."""

FOLLOWED = 1_000
"""Records that are looked at in each poll; an owner has fewer within two seconds."""

MANY = 10_000_000
REMEMBERED = 4 * FOLLOWED

COLUMNS = (
    moment("at"),
    at("action"),
    Column("outcome", lambda record: record.get("code") or record.get("outcome")),
    at("actor"),
    at("model"),
    at("total_tokens", "tokens"),
    Column("object", lambda record: record.get("job_id") or record.get("thread_id")),
)
EXPORTED = tuple(
    at(name)
    for name in (
        *("at", "action", "outcome", "code", "owner", "subject", "actor", "how", "model"),
        *("thread_id", "turn_id", "job_id", "key_id", "request_id", "total_tokens", "latency"),
    )
)


@dataclass(frozen=True)
class Filters:
    """Which records are meant."""

    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only send, job_submit, key_create, ...")
    ] = None
    outcome: Annotated[
        str | None, typer.Option(metavar="OUTCOME", help="Only succeeded, failed or refused.")
    ] = None
    thread: Annotated[
        str | None, typer.Option(metavar="ID", help="Only records of this thread.")
    ] = None
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only records of this job.")] = None
    all_owners: Annotated[
        bool, typer.Option("--all-owners", help="For admins: records of all owners.")
    ] = False

    def query(self) -> dict[str, str | bool | None]:
        """The parameters of a request."""
        return {
            "action": self.action,
            "outcome": self.outcome,
            "thread_id": self.thread,
            "job_id": self.job,
            "all_owners": self.all_owners or None,
        }


@command(app, "tail")
def tail(
    session: Session,
    filters: Filters,
    limit: Limit = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new records, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the latest records, the last one at the end."""
    output, query = session.output, filters.query()
    latest = list(session.api.pages("audit", query, limit))[::-1]
    if not follow:
        output.items(latest, COLUMNS)
        return
    seen: dict[str, None] = {}
    while True:
        for record in latest:
            if (text := json.dumps(record, sort_keys=True)) not in seen:
                seen[text] = None
                _print(session, record)
        while len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        time.sleep(POLL_SECONDS)
        latest = list(session.api.pages("audit", query, FOLLOWED if seen else limit))[::-1]


@command(app, "export")
def export(
    session: Session,
    filters: Filters,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="By default --to.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="By default today, in UTC.")
    ] = None,
) -> None:
    """Print all records of a range of days, newest first: JSON lines, or -o csv."""
    end = _day(last) if last else datetime.now(UTC).date()
    begin = _day(first) if first else end
    if begin > end:
        raise UsageError("--from must not be after --to")
    records = _records(session, filters, begin, end)
    if session.output.format is Format.CSV:
        session.output.items(records, EXPORTED)
        return
    for record in records:
        session.output.line(record)


def _records(session: Session, filters: Filters, begin: date, end: date) -> Iterator[JsonObject]:
    """All records of the days, which may be more than one request takes."""
    while begin <= end:
        start = max(begin, end - timedelta(days=MAX_DAYS - 1))
        days = {"from": start.isoformat(), "to": end.isoformat()}
        yield from session.api.pages("audit", {**filters.query(), **days}, MANY)
        end = start - timedelta(days=1)


def _print(session: Session, record: JsonObject) -> None:
    if not session.output.is_table:
        session.output.line(record)
        return
    session.output.say("  ".join(text_of(column.value(record)) for column in COLUMNS))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("a day is YYYY-MM-DD, such as 2026-11-30") from None
