"""Reads the audit trail page by page, newest record first.

The records of turns and accepted jobs are read from the state table, and all others from the audit
table.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta

from ..state.days import LAST_KEY, SEPARATOR, DayIndex, day_partition
from ..state.keys import audit_key, partition_key
from ..state.table import Row, Table, equals
from .trail import AuditRecord

_ROW_KEY = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


class CursorError(ValueError):
    """A cursor that is unreadable or belongs to another query."""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records to read: of one owner or of all, over some days, both ends included."""

    owner: str | None
    first: date
    last: date
    where: tuple[tuple[str, str], ...] = ()
    """Names of properties, and the values they must have."""

    @property
    def condition(self) -> str:
        """The filter of a table query."""
        return " and ".join(equals(name, value) for name, value in self.where)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records, and the cursor of the next page, if there is one."""

    records: tuple[AuditRecord, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Position:
    """A partition, and the record after which to continue there."""

    day: date
    owner_key: str
    row_key: str = ""

    def to_cursor(self) -> str:
        text = SEPARATOR.join((self.day.isoformat(), self.row_key, self.owner_key))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def from_cursor(cls, cursor: str, query: AuditQuery) -> _Position:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            text = base64.b64decode(padded, b"-_", validate=True).decode("ascii")
            day_text, row_key, owner_key = text.split(SEPARATOR)
            day = date.fromisoformat(day_text)
        except (binascii.Error, ValueError) as error:
            raise CursorError("unreadable") from error
        is_theirs = query.owner is None or owner_key == partition_key(query.owner)
        if not (is_theirs and query.first <= day <= query.last and _ROW_KEY.fullmatch(row_key)):
            raise CursorError("of another query")
        return cls(day, owner_key, row_key)


class AuditReader:
    """Reads the records of all owners."""

    def __init__(self, table: Table, state: Table) -> None:
        self._table = table
        self._state = state
        self.days = DayIndex(table)
        """Removes the records of old days."""

    async def page(self, query: AuditQuery, limit: int, cursor: str | None = None) -> AuditPage:
        """Up to ``limit`` records, newest first; across owners, by day and then by owner.

        Raises:
            CursorError: if the cursor is unreadable or belongs to another query.
        """
        start = _Position.from_cursor(cursor, query) if cursor else None
        records: list[AuditRecord] = []
        async for position in self._positions(query, start):
            rows = await self._rows(position, query.condition, limit - len(records))
            records += [AuditRecord.from_row(row) for row in rows.values()]
            if len(records) == limit:
                last = _Position(position.day, position.owner_key, [*rows][-1])
                return AuditPage(tuple(records), last.to_cursor())
        return AuditPage(tuple(records))

    async def _rows(self, position: _Position, where: str, limit: int) -> dict[str, Row]:
        """The first rows of an owner's day, from both tables, by key in order."""
        day, owner_key = position.day, position.owner_key
        partition, after = day_partition(owner_key, day), position.row_key
        others, committed = await asyncio.gather(
            self._table.scan(partition, after, LAST_KEY, limit=limit, where=where),
            self._state.scan(
                owner_key,
                audit_key(day, after),
                audit_key(day, LAST_KEY),
                limit=limit,
                where=where,
            ),
        )
        found = {row.row_key: row for row in others}
        found |= {row.row_key.rpartition(":")[2]: row for row in committed}
        return {key: found[key] for key in sorted(found)[:limit]}

    async def _positions(
        self, query: AuditQuery, start: _Position | None
    ) -> AsyncIterator[_Position]:
        day = start.day if start else query.last
        if start:
            yield start
        while day >= query.first:
            if query.owner is None:
                after = start.owner_key if start and start.day == day else ""
                async for owner_key in self.days.owners(day, after):
                    yield _Position(day, owner_key)
            elif not (start and start.day == day):
                yield _Position(day, partition_key(query.owner))
            day -= timedelta(days=1)
