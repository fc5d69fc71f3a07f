"""Jobs: what was submitted, in which lane it waits, how far it is and what came of it.

A job is two rows. Its job row is what callers read; its box row holds the submitted work and
its place in the lane, and goes when the job has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from .documents import document_values, read_document
from .errors import RowChangedError, RowMissingError, StateError
from .keys import Kind, box_key, identifier, is_id, newest_first, partition_key
from .lanes import Lanes, has_waiting, head_sequence
from .table import Action, Change, Row, Table, Value

_WORK = "work"
"""Name of the document in a box row."""


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED}


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
    started_at: datetime | None = None
    finished_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    results: tuple[dict[str, Any], ...] = ()
    """One document a finished message."""
    problem: dict[str, Any] | None = None

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
            started_at=values.get("started_at"),
            finished_at=values.get("finished_at"),
            metadata=json.loads(values["metadata"]),
            results=tuple(result for result in results if result is not None),
            problem=json.loads(values["problem"]) if "problem" in values else None,
        )

    def to_values(self) -> dict[str, Value | None]:
        """The properties of a new job's row, a lane's aside."""
        return {
            "status": self.status.value,
            "created_at": self.created_at,
            "thread_id": self.thread_id,
            "messages_total": self.messages_total,
            "messages_done": 0,
            "metadata": json.dumps(dict(self.metadata), ensure_ascii=False),
        }

    @property
    def lane(self) -> str:
        """The id of the lane the job runs in: its thread, or the job itself."""
        return self.thread_id or self.job_id


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """The job at the head of a lane, with the work it brings."""

    job_id: str
    box_key: str
    work: dict[str, Any]
    messages_done: int


class Jobs:
    """The jobs of all owners, each reachable through its owner only."""

    def __init__(self, table: Table, lanes: Lanes) -> None:
        self._table = table
        self._lanes = lanes

    async def get(self, owner: str, job_id: str) -> Job:
        """The job as it stands now.

        Raises:
            RowMissingError: if the owner has no such job.
        """
        if not is_id(Kind.JOB, job_id):
            raise RowMissingError(f"{job_id!r} is not the id of a job.")
        row = await self._table.get(partition_key(owner), newest_first(job_id))
        if row is None:
            raise RowMissingError(f"There is no job {job_id}.")
        return Job.from_row(owner, row)

    async def submit(self, job: Job, work: dict[str, Any]) -> None:
        """Keep a job and its place at the end of its lane, in one transaction.

        Raises:
            RowMissingError: if the job's thread does not exist.
            DocumentTooLargeError: if the work does not fit into a row.
        """
        if job.thread_id is None:
            await self._write(job, work, sequence=1, lane_values={"job_head": 1, "job_tail": 1})
            return
        row_key = newest_first(job.thread_id)
        row = await self._lanes.read(job.owner, row_key)
        while True:
            tail = int(row.values.get("job_tail", 0)) + 1
            advance = Change(Action.MERGE, row_key, {"job_tail": tail}, row.etag)
            try:
                await self._write(job, work, sequence=tail, thread_change=advance)
            except RowChangedError:
                row = await self._lanes.read(job.owner, row_key, fresh=True)
            else:
                self._lanes.forget(job.owner, row_key)
                return

    async def _write(
        self,
        job: Job,
        work: dict[str, Any],
        *,
        sequence: int,
        lane_values: Mapping[str, Value] | None = None,
        thread_change: Change | None = None,
    ) -> None:
        values = {**job.to_values(), **(lane_values or {})}
        box = {"job_id": job.job_id, "messages_done": 0, **document_values(work, _WORK)}
        changes = [
            Change(Action.INSERT, newest_first(job.job_id), values),
            Change(Action.INSERT, box_key(job.lane, sequence), box),
        ]
        if thread_change:
            changes.append(thread_change)
        await self._table.write(partition_key(job.owner), changes)

    async def head(self, owner: str, lane: str, row: Row) -> WaitingJob | None:
        """The job whose turn it is in a lane, given the lane's row; None if none waits."""
        if not has_waiting(row):
            return None
        key = box_key(lane, head_sequence(row))
        box = await self._table.get(partition_key(owner), key)
        if box is None:
            return None
        work = read_document(box.values, _WORK)
        if work is None:
            raise StateError(f"The box row {key} holds no work.")
        return WaitingJob(box.values["job_id"], key, work, box.values["messages_done"])


def job_change(
    job_id: str,
    *,
    results: Mapping[int, dict[str, Any]] | None = None,
    problem: dict[str, Any] | None = None,
    **values: Value,
) -> Change:
    """The change that brings a job's row up to date; ``results`` by number of the message."""
    written: dict[str, Value | None] = dict(values)
    for number, result in (results or {}).items():
        written |= document_values(result, _result(number))
    if problem is not None:
        written["problem"] = json.dumps(problem, ensure_ascii=False)
    return Change(Action.MERGE, newest_first(job_id), written)


def _result(number: int) -> str:
    return f"result_{number}"
