"""Jobs: the submitted work, its place in a lane, its progress and its result.

A job has two rows. Callers read the job row. The box row holds the submitted work and its place in
the lane, and is deleted when the job has ended.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from .contention import Contention
from .errors import JobEndedError, RowChangedError, RowMissingError
from .json_properties import document_values, read_document
from .keys import (
    AFTER_COLON,
    Kind,
    asked_key,
    box_key,
    identifier,
    is_id,
    newest_first,
    partition_key,
)
from .lanes import Lanes, has_waiting, head_sequence
from .mailbox import WaitingJob, Work, read_work
from .markers import mark_delivery, mark_lane
from .table import Change, Operation, Row, Table, Value, equals
from .threads import Thread

log = logging.getLogger(__name__)

MAX_COUNTED = 1_000
"""The most jobs that are counted by status: as many as one response to a query has."""

MARKED = "lane_marked"
"""Property of a lane that has a marker for the sweeper."""


class JobStatus(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self not in {JobStatus.QUEUED, JobStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted job as callers see it."""

    job_id: str
    owner: str
    status: JobStatus
    created_at: datetime
    thread_id: str | None = None
    messages_total: int = 1
    messages_done: int = 0
    attempts: int = 0
    """How often one of its messages has failed."""
    failures: tuple[dict[str, Any], ...] = ()
    """The latest failed attempts, oldest first, each with its problem."""
    not_before: datetime | None = None
    expires_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    results: tuple[dict[str, Any], ...] = ()
    """One document for each answered message."""
    problem: dict[str, Any] | None = None
    """Why the job ended without success."""
    sequence: int = 1
    """The number of its place in the lane."""
    delivery: str | None = None
    """The state of the delivery to its callbacks: pending, delivered or failed."""

    @classmethod
    def from_row(cls, owner: str, row: Row) -> Job:
        """Read a job's row."""
        values: Mapping[str, Any] = row.values
        results = (read_document(values, _result(n)) for n in range(values["messages_done"]))
        return cls(
            job_id=identifier(row.row_key),
            owner=owner,
            status=JobStatus(values["status"]),
            created_at=values["created_at"],
            thread_id=values.get("thread_id"),
            messages_total=values["messages_total"],
            messages_done=values["messages_done"],
            attempts=values.get("attempts", 0),
            failures=tuple(json.loads(values.get("failures", "[]"))),
            not_before=values.get("not_before"),
            expires_at=values.get("expires_at"),
            started_at=values.get("started_at"),
            finished_at=values.get("finished_at"),
            cancel_requested=values.get("cancel_requested", False),
            metadata=json.loads(values["metadata"]),
            results=tuple(result for result in results if result is not None),
            problem=json.loads(values["problem"]) if "problem" in values else None,
            sequence=values["sequence"],
            delivery=values.get("delivery"),
        )

    def to_values(self, sequence: int) -> dict[str, Value | None]:
        """The properties of a new job's row, without those of a lane."""
        return {
            "status": self.status.value,
            "created_at": self.created_at,
            "thread_id": self.thread_id,
            "messages_total": self.messages_total,
            "messages_done": 0,
            "not_before": self.not_before,
            "expires_at": self.expires_at,
            "finished_at": self.finished_at,
            "metadata": json.dumps(dict(self.metadata), ensure_ascii=False),
            "problem": json.dumps(self.problem) if self.problem else None,
            "delivery": self.delivery,
            "sequence": sequence,
        }

    @property
    def lane(self) -> str:
        """The id of the job's lane: its thread, or the job itself."""
        return self.thread_id or self.job_id


class Jobs:
    """The jobs of all owners; each can only be read with its owner."""

    def __init__(self, table: Table, lanes: Lanes) -> None:
        self._table = table
        self._lanes = lanes

    async def get(self, owner: str, job_id: str) -> Job:
        """The current state of a job.

        Raises:
            RowMissingError: if the owner has no such job.
        """
        if not is_id(Kind.JOB, job_id):
            raise RowMissingError(f"{job_id!r} is not the id of a job.")
        row = await self._table.get(partition_key(owner), newest_first(job_id))
        if row is None:
            raise RowMissingError(f"There is no job {job_id}.")
        return Job.from_row(owner, row)

    async def list(
        self,
        owner: str,
        *,
        limit: int,
        after: str | None,
        status: JobStatus | None,
        thread_id: str | None = None,
    ) -> list[Job]:
        """Up to ``limit`` jobs, newest first, that follow ``after``, of a status and a thread."""
        if thread_id is not None and not is_id(Kind.THREAD, thread_id):
            return []
        wanted = {"status": status and status.value, "thread_id": thread_id}
        where = " and ".join(equals(name, value) for name, value in wanted.items() if value)
        start = newest_first(after) if after else f"{Kind.JOB}:"
        end = f"{Kind.JOB}{AFTER_COLON}"
        rows = await self._table.scan(partition_key(owner), start, end, limit=limit, where=where)
        return [Job.from_row(owner, row) for row in rows]

    async def count(self, owner: str) -> Counter[JobStatus]:
        """How many of the latest `MAX_COUNTED` jobs have each status."""
        start, end = f"{Kind.JOB}:", f"{Kind.JOB}{AFTER_COLON}"
        partition, select = partition_key(owner), ("status",)
        rows = await self._table.scan(partition, start, end, limit=MAX_COUNTED, select=select)
        return Counter(JobStatus(row.values["status"]) for row in rows)

    async def asked(self, job: Job) -> Row | None:
        """The row with what a job was asked: its box row, or after its end a copy of that."""
        partition = partition_key(job.owner)
        if not job.status.is_terminal or job.status is JobStatus.CANCELLED:
            box = await self._table.get(partition, box_key(job.lane, job.sequence))
            if box is not None:
                return box
        return await self._table.get(partition, asked_key(job.job_id))

    async def mark_for_delivery(self, job: Job) -> None:
        """Mark a job for the delivery of its result; call it before `submit`."""
        await mark_delivery(self._table, job.owner, job.job_id, job.created_at)

    async def submit(
        self,
        job: Job,
        work: Work,
        new_thread: Thread | None = None,
        also: Sequence[Change] = (),
    ) -> None:
        """Store a job at the end of its lane, in one transaction with ``also``.

        ``new_thread`` is the job's thread if it does not exist yet.

        Raises:
            RowMissingError: if the job's thread does not exist.
            RowExistsError: if the job was submitted before.
            DocumentTooLargeError: if the work does not fit into a row.
            StorageContentionError: if the thread's row changes too often.
        """
        box = work.to_values()
        if job.thread_id is None or new_thread is not None:
            await mark_lane(self._table, job.owner, job.lane, job.created_at)
            await self._start_lane(job, box, new_thread, also)
            return
        row_key = newest_first(job.thread_id)
        row = await self._lanes.read(job.owner, row_key)
        contention = Contention("the thread")
        while True:
            if not row.values.get(MARKED):
                await mark_lane(self._table, job.owner, job.lane, job.created_at)
            tail = int(row.values.get("job_tail", 0)) + 1
            advance: dict[str, Value] = {"job_tail": tail, MARKED: True}
            try:
                rows = [*_rows(job, box, tail), *also]
                await self._lanes.write(job.owner, row, advance, rows)
            except RowChangedError as error:
                await contention.pause(error)
                row = await self._lanes.read(job.owner, row_key, fresh=True)
            else:
                return

    async def add_ended(self, job: Job, also: Sequence[Change]) -> None:
        """Store a job that ended before it entered a lane.

        Raises:
            RowExistsError: if the job was submitted before.
        """
        insert = Change(Operation.INSERT, newest_first(job.job_id), job.to_values(sequence=0))
        await self._table.write(partition_key(job.owner), [insert, *also])

    async def _start_lane(
        self,
        job: Job,
        box: Mapping[str, Value],
        new_thread: Thread | None,
        also: Sequence[Change],
    ) -> None:
        """Store a job together with its new lane."""
        lane: dict[str, Value | None] = {"job_head": 1, "job_tail": 1, MARKED: True}
        job_row, box_row = _rows(job, box, 1)
        if new_thread is None:
            first = replace(job_row, values={**job_row.values, **lane})
            changes = [first, box_row]
        else:
            thread_values = {**new_thread.to_values(), **lane}
            first = Change(Operation.INSERT, newest_first(new_thread.thread_id), thread_values)
            changes = [first, job_row, box_row]
        etag = await self._table.write(partition_key(job.owner), [*changes, *also])
        kept = {name: value for name, value in first.values.items() if value is not None}
        self._lanes.remember(job.owner, Row(first.row_key, etag, kept))

    async def head(self, owner: str, lane: str, row: Row) -> WaitingJob | None:
        """The first waiting job of a lane, given the lane's row; None if no job waits."""
        if not has_waiting(row):
            return None
        box = await self._table.get(partition_key(owner), box_key(lane, head_sequence(row)))
        if box is None:
            return None
        return WaitingJob(box.values["job_id"], box, read_work(box))

    async def cancel(
        self, owner: str, job_id: str, also: Callable[[Job], Sequence[Change]] = lambda _: ()
    ) -> Job:
        """Cancel a job: a waiting job never runs, a running one stops before its next message.

        ``also`` returns further changes to write, given the cancelled job.

        Raises:
            RowMissingError: if the owner has no such job.
            JobEndedError: if it has ended otherwise; a cancelled job is returned.
        """
        contention = Contention("the job")
        while True:
            job = await self.get(owner, job_id)
            if job.status is JobStatus.CANCELLED:
                return job
            if job.status.is_terminal:
                raise JobEndedError(job.status.value)
            cancelled = replace(job, cancel_requested=True)
            changes = [
                Change(Operation.MERGE, box_key(job.lane, job.sequence), {"cancelled": True}),
                job_change(job_id, cancel_requested=True),
                *also(cancelled),
            ]
            try:
                await self._table.write(partition_key(owner), changes)
            except RowMissingError as error:  # it ended since it was read, so its box row is gone
                await contention.pause(error)
            else:
                return cancelled


def _rows(job: Job, work: Mapping[str, Value], sequence: int) -> list[Change]:
    """The job row and the box row of a new job."""
    box: dict[str, Value | None] = {
        "job_id": job.job_id,
        "messages_done": 0,
        "not_before": job.not_before,
        "expires_at": job.expires_at,
        **work,
    }
    return [
        Change(Operation.INSERT, newest_first(job.job_id), job.to_values(sequence)),
        Change(Operation.INSERT, box_key(job.lane, sequence), box),
    ]


def job_change(
    job_id: str,
    *,
    results: Mapping[int, dict[str, Any]] | None = None,
    problem: dict[str, Any] | None = None,
    **values: Value,
) -> Change:
    """The change that updates a job's row; ``results`` are by message number."""
    written: dict[str, Value | None] = dict(values)
    for number, result in (results or {}).items():
        written |= document_values(result, _result(number))
    if problem is not None:
        written["problem"] = json.dumps(problem, ensure_ascii=False)
    return Change(Operation.MERGE, newest_first(job_id), written)


def _result(number: int) -> str:
    return f"result_{number}"
