"""Deletes jobs with all their rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from .keys import ANSWER, Kind, box_prefix, identifier, outbox_key, partition_key
from .row_deletion import delete_if_there, delete_range, delete_rows, page_of
from .table import Row, Table, equals

_READ = ("created_at", "delivery", "status", "thread_id", "lease_holder", "lease_until")

MayGo = Callable[[Row], bool]


async def remove_jobs_of(table: Table, owner: str, thread_id: str) -> int:
    """Delete the jobs of a thread on which no turn runs; returns how many.

    Those that wait never run, and no end is delivered any more.
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
    """Delete the jobs that may go; returns how many did, and how many of those that were submitted
    before a moment did not."""
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
    """Delete the rows of up to a hundred jobs, their own last."""
    for job in jobs:
        if job.values.get("delivery"):
            job_id = identifier(job.row_key)
            await delete_if_there(table, partition, outbox_key(job_id))
            await delete_range(table, partition, f"{ANSWER}:{job_id}:")
    return await delete_rows(table, partition, [job.row_key for job in jobs])
