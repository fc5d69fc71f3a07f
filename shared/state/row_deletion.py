"""Deletes rows in bounded transactions, so that a death on the way costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import RowMissingError
from .table import Change, Operation, Row, Table

MAX_TRANSACTION_ROWS = 100
"""The most changes that one transaction takes."""

Keep = Callable[[Row], bool]
"""Whether a row stays, of which the key and `_KEEP_READS` are known."""

_KEEP_READS = ("created_at", "marked_at", "until", "answered")


def _keep_none(_: Row) -> bool:
    return False


async def delete_range(
    table: Table, partition: str, prefix: str, *, where: str = "", keep: Keep = _keep_none
) -> int:
    """Delete the rows of a partition whose keys begin with ``prefix``, less those to keep;
    returns how many."""
    deleted, after = 0, ""
    while rows := await page_of(
        table, partition, prefix, after=after, where=where, select=_KEEP_READS
    ):
        old = [row.row_key for row in rows if not keep(row)]
        deleted += await delete_rows(table, partition, old)
        after = rows[-1].row_key
    return deleted


async def page_of(
    table: Table,
    partition: str,
    prefix: str,
    *,
    after: str = "",
    where: str = "",
    select: Sequence[str] = ("created_at",),
) -> list[Row]:
    """The first rows whose keys begin with ``prefix``: as many as one transaction takes."""
    end = prefix + LAST_CHARACTER
    start = after or prefix
    return await table.scan(
        partition, start, end, limit=MAX_TRANSACTION_ROWS, where=where, select=select
    )


LAST_CHARACTER = "~"
"""Sorts behind all characters that our keys hold."""


async def delete_if_there(table: Table, partition: str, row_key: str) -> None:
    """Delete one row; that it is gone already does not matter."""
    try:
        await table.write(partition, [Change(Operation.DELETE, row_key)])
    except RowMissingError:
        return


async def delete_rows(table: Table, partition: str, row_keys: Sequence[str]) -> int:
    """Delete rows in one transaction; returns how many.

    Where another worker was faster with one of them, the others go one by one, and all count.
    """
    if not row_keys:
        return 0
    changes = [Change(Operation.DELETE, row_key) for row_key in row_keys]
    try:
        await table.write(partition, changes)
    except RowMissingError:
        for row_key in row_keys:
            await delete_if_there(table, partition, row_key)
    return len(row_keys)
