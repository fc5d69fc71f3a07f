"""Erasures of owners: the request and its progress; see `threads.erasure`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

from ..documents import Document
from .errors import RowChangedError, RowMissingError
from .keys import ERASURE, partition_key
from .table import Change, Operation, Row, Table, Value

log = logging.getLogger(__name__)

ERASURES_PARTITION = "$erasures"
"""One row for each owner that is being erased."""

MAX_ERASURES = 1_000
"""The most erasures in one sweep."""


class ErasureDocument(Document):
    """The receipt of an erasure."""

    erasure_id: str
    status: Literal["erased", "erasing"]
    asked_at: str
    erased_at: str | None
    deleted: dict[str, int]
    """Numbers of deleted rows by kind."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure of one owner."""

    erasure_id: str
    owner: str
    asked_at: datetime
    """When it was requested; everything that was started before is erased."""
    caller: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Numbers of rows deleted so far, by kind."""
    erased_at: datetime | None = None
    """When no row was left; rows of turns that ran then are deleted by a second pass."""

    @property
    def row_key(self) -> str:
        """The row key: one row per owner."""
        return f"{ERASURE}:{partition_key(self.owner)}"

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row that `begin` or `update` wrote."""
        values = row.values
        return cls(
            values["erasure_id"],
            values["owner"],
            values["asked_at"],
            json.loads(values["caller"]),
            json.loads(values["counts"]),
            values.get("erased_at"),
        )

    def with_counts(self, counts: Mapping[str, int]) -> Self:
        """The erasure with more deleted rows counted."""
        names = sorted({*self.counts, *counts})
        total = {name: self.counts.get(name, 0) + counts.get(name, 0) for name in names}
        return replace(self, counts=total)

    def to_json(self) -> dict[str, Any]:
        """The receipt."""
        return {
            "erasure_id": self.erasure_id,
            "status": "erased" if self.erased_at else "erasing",
            "asked_at": self.asked_at.isoformat(),
            "erased_at": self.erased_at.isoformat() if self.erased_at else None,
            "deleted": dict(self.counts),
        }

    async def begin(self, table: Table) -> str:
        """Store it, in place of an earlier erasure of the owner; returns the row's ETag."""
        return await table.write(ERASURES_PARTITION, [self._change(Operation.UPSERT)])

    async def update(self, table: Table, etag: str) -> None:
        """Store the progress, unless a new request or another worker has changed the row."""
        try:
            await table.write(ERASURES_PARTITION, [self._change(Operation.REPLACE, etag)])
        except (RowChangedError, RowMissingError):
            log.debug("Erasure %s was changed by another worker", self.erasure_id)

    def _change(self, action: Operation, etag: str | None = None) -> Change:
        values: dict[str, Value | None] = {
            "erasure_id": self.erasure_id,
            "owner": self.owner,
            "asked_at": self.asked_at,
            "caller": json.dumps(dict(self.caller)),
            "counts": json.dumps(dict(self.counts)),
            "erased_at": self.erased_at,
        }
        return Change(action, self.row_key, values, etag)


async def open_erasures(table: Table) -> list[tuple[Erasure, Row]]:
    """The erasures that are not closed yet."""
    rows = await table.scan(ERASURES_PARTITION, f"{ERASURE}:", "~", limit=MAX_ERASURES)
    return [(Erasure.from_row(row), row) for row in rows]


async def close_erasure(table: Table, row: Row) -> None:
    """Delete the row of a finished erasure, unless the owner has requested a new one."""
    try:
        change = Change(Operation.DELETE, row.row_key, etag=row.etag)
        await table.write(ERASURES_PARTITION, [change])
    except (RowChangedError, RowMissingError):
        return
