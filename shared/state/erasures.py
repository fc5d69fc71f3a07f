"""Erasures of owners: what was asked, and how far it is; see `jobs.erasure`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from .errors import RowChangedError, RowMissingError
from .keys import ERASURE, partition_key
from .table import Change, Operation, Row, Table, Value

log = logging.getLogger(__name__)

ERASURES_PARTITION = "$erasures"
"""One row for each owner who is being erased."""

MAX_ERASURES = 1_000
"""Looked at in one sweep."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One owner who is being erased."""

    erasure_id: str
    owner: str
    asked_at: datetime
    """What was begun before this moment is erased."""
    caller: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows that were deleted so far, by what they were."""
    erased_at: datetime | None = None
    """When nothing was found any more; what was running then is looked for once more."""

    @property
    def row_key(self) -> str:
        """An owner has one row."""
        return f"{ERASURE}:{partition_key(self.owner)}"

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read what was kept."""
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
        """The erasure after some more rows were deleted."""
        names = sorted({*self.counts, *counts})
        total = {name: self.counts.get(name, 0) + counts.get(name, 0) for name in names}
        return replace(self, counts=total)

    def to_json(self) -> dict[str, Any]:
        """As its receipt shows it."""
        return {
            "erasure_id": self.erasure_id,
            "status": "erased" if self.erased_at else "erasing",
            "asked_at": self.asked_at.isoformat(),
            "erased_at": self.erased_at.isoformat() if self.erased_at else None,
            "deleted": dict(self.counts),
        }

    async def begin(self, table: Table) -> str:
        """Keep it, in place of what there was of the owner; returns the row's version."""
        return await table.write(ERASURES_PARTITION, [self._change(Operation.UPSERT)])

    async def update(self, table: Table, etag: str) -> None:
        """Keep how far it is, unless it was asked for anew, or another worker was faster."""
        try:
            await table.write(ERASURES_PARTITION, [self._change(Operation.REPLACE, etag)])
        except (RowChangedError, RowMissingError):
            log.debug("Erasure %s is another worker's by now", self.erasure_id)

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
    """The erasures that are not over yet."""
    rows = await table.scan(ERASURES_PARTITION, f"{ERASURE}:", "~", limit=MAX_ERASURES)
    return [(Erasure.from_row(row), row) for row in rows]


async def close_erasure(table: Table, row: Row) -> None:
    """Forget an erasure that is over, unless it was asked for anew."""
    try:
        change = Change(Operation.DELETE, row.row_key, etag=row.etag)
        await table.write(ERASURES_PARTITION, [change])
    except (RowChangedError, RowMissingError):
        return
