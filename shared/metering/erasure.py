"""Deletes the metrics of one owner."""

from __future__ import annotations

from datetime import datetime

from ..state.days import SEPARATOR
from ..state.row_deletion import LAST_CHARACTER, delete_rows
from ..state.table import Row, Table
from .counts import FLEET, View
from .rows import key_of, scope_key

PAGE_ROWS = 1_000
_SELECTED = ("key",)


async def remove_owner(table: Table, owner: str, before: datetime) -> int:
    """Delete an owner's metrics: its own, and its rows among the fleet's usage.

    The fleet's metrics by model and domain, which name no owner, stay, and so do the minutes that
    began after ``before``. Hours and days that are not over are summed up anew from those.
    """
    minute = f"{before:%Y-%m-%d %H:%M}"

    def is_owners(partition: str, row: Row) -> bool:
        if not partition.startswith(FLEET):
            return _is_earlier(partition, row, minute)
        of_owner = row.row_key.split("|")[1] == View.USAGE and key_of(row)[0] == owner
        return of_owner and _is_earlier(partition, row, minute)

    removed = 0
    for scope in (scope_key(owner), FLEET):
        place = (scope, "")
        while page := await table.walk(place, limit=PAGE_ROWS, select=_SELECTED):
            of_scope = [
                (partition, row)
                for partition, row in page
                if partition == scope or partition.startswith(f"{scope}{SEPARATOR}")
            ]
            removed += await _delete(table, [each for each in of_scope if is_owners(*each)])
            partition, last = page[-1]
            place = (partition, last.row_key)
            if partition > f"{scope}{SEPARATOR}{LAST_CHARACTER}":
                break
    return removed


def _is_earlier(partition: str, row: Row, minute: str) -> bool:
    """Whether a row is a sum of minutes, or of a minute up to ``minute``."""
    parts = row.row_key.split("|")
    _, _, day = partition.rpartition(SEPARATOR)
    return parts[0] != "minute" or f"{day} {parts[2]}" <= minute


async def _delete(table: Table, found: list[tuple[str, Row]]) -> int:
    by_partition: dict[str, list[str]] = {}
    for partition, row in found:
        by_partition.setdefault(partition, []).append(row.row_key)
    deleted = 0
    for partition, keys in by_partition.items():
        for start in range(0, len(keys), 100):
            deleted += await delete_rows(table, partition, keys[start : start + 100])
    return deleted
