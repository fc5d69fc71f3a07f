"""Deletes rows, and jobs with all their rows, in bounded transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from .errors import RowMissingError
from .keys import ANSWER, Kind, asked_key, box_prefix, identifier, outbox_key, partition_key
from .table import Change, Operation, Row, Table, equals

MAX_TRANSACTION_ROWS = 100
"""The most changes in one transaction."""

Keep = Callable[[Row], bool]
"""Whether to keep a row, given its key and the properties `_KEEP_READS`."""

_KEEP_READS = ("created_at", "marked_at", "until", "answered")


def _keep_none(_: Row) -> bool:
    return False


async def delete_range(
    table: Table, partition: str, prefix: str, *, where: str = "", keep: Keep = _keep_none
) -> int:
    """Delete the rows of a partition whose keys begin with ``prefix``, except those to ``keep``;
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
    """The first rows whose keys begin with ``prefix``, at most as many as one transaction takes."""
    end = prefix + LAST_CHARACTER
    start = after or prefix
    return await table.scan(
        partition, start, end, limit=MAX_TRANSACTION_ROWS, where=where, select=select
    )


LAST_CHARACTER = "~"
"""Sorts after all characters in the app's keys."""


async def delete_if_there(table: Table, partition: str, row_key: str) -> None:
    """Delete one row, if it exists."""
    try:
        await table.write(partition, [Change(Operation.DELETE, row_key)])
    except RowMissingError:
        return


async def delete_rows(table: Table, partition: str, row_keys: Sequence[str]) -> int:
    """Delete rows in one transaction; returns how many.

    If another worker has already deleted one, they are deleted one by one, and all count.
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


_READ = (
    "created_at",
    "delivery",
    "finished_at",
    "status",
    "thread_id",
    "lease_holder",
    "lease_until",
)

MayGo = Callable[[Row], bool]


async def remove_jobs_of(table: Table, owner: str, thread_id: str) -> int:
    """Delete the jobs of a thread on which no turn runs; returns how many.

    Waiting jobs never run, and results that are not delivered yet are dropped.
    """
    partition, removed = partition_key(owner), 0
    await delete_range(table, partition, box_prefix(thread_id))
    of_thread = equals("thread_id", thread_id)
    while rows := await _page(table, partition, "", of_thread):
        removed += await _remove(table, partition, rows)
    return removed


async def remove_lone_jobs(
    table: Table, owner: str, before: datetime, may_go: MayGo
) -> tuple[int, int]:
    """Delete the jobs that ``may_go``; returns how many, and how many other jobs were submitted
    up to ``before``."""
    partition, removed, staying, after = partition_key(owner), 0, 0, ""
    while rows := await _page(table, partition, after, ""):
        going = [row for row in rows if may_go(row)]
        for row in going:
            await delete_range(table, partition, box_prefix(identifier(row.row_key)))
        removed += await _remove(table, partition, going)
        staying += sum(row.values["created_at"] <= before and row not in going for row in rows)
        after = rows[-1].row_key
    return removed, staying


async def _page(table: Table, partition: str, after: str, where: str) -> list[Row]:
    prefix = f"{Kind.JOB}:"
    return await page_of(table, partition, prefix, after=after, where=where, select=_READ)


async def _remove(table: Table, partition: str, jobs: list[Row]) -> int:
    """Delete the rows of up to 100 jobs; each job row is deleted after its other rows."""
    ended = [job for job in jobs if job.values.get("finished_at")]
    asked = [asked_key(identifier(job.row_key)) for job in ended]
    await delete_rows(table, partition, asked)
    for job in jobs:
        if job.values.get("delivery"):
            job_id = identifier(job.row_key)
            await delete_if_there(table, partition, outbox_key(job_id))
            await delete_range(table, partition, f"{ANSWER}:{job_id}:")
    return await delete_rows(table, partition, [job.row_key for job in jobs])
