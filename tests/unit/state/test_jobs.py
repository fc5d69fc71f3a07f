"""Jobs: two rows and a place in a lane, written together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.state.errors import (
    DocumentTooLargeError,
    RowExistsError,
    RowMissingError,
)
from shared.state.jobs import Job, Jobs, JobStatus, job_change
from shared.state.json_properties import MAX_DOCUMENT_BYTES
from shared.state.keys import Kind, new_id, newest_first, partition_key
from shared.state.lanes import Lanes, has_waiting
from shared.state.mailbox import Work
from shared.state.table import Change, Operation
from shared.state.threads import Thread, Threads
from tests.support.fakes import FakeClock, FakeTable

OWNER = "tid:oid"
PARTITION = partition_key(OWNER)
WORK: dict[str, Any] = {"messages": ["Hi"], "options": {}}


class Store:
    """The jobs of one app instance."""

    def __init__(self, table: FakeTable) -> None:
        self.table = table
        self.clock = FakeClock()
        self.lanes = Lanes(table, self.clock)
        self.jobs = Jobs(table, self.lanes)

    async def thread(self) -> str:
        now, thread_id = self.clock(), new_id(Kind.THREAD)
        await Threads(self.table, self.lanes, self.clock).add(Thread(thread_id, OWNER, now, now))
        return thread_id

    async def submit(self, thread_id: str | None = None, **fields: Any) -> Job:
        given: dict[str, Any] = {"job_id": new_id(Kind.JOB), "owner": OWNER, **fields}
        job = Job(status=JobStatus.QUEUED, created_at=self.clock(), thread_id=thread_id, **given)
        await self.jobs.submit(job, Work(WORK))
        return job

    async def head(self, lane: str) -> str | None:
        row = await self.lanes.read(OWNER, newest_first(lane), fresh=True)
        head = await self.jobs.head(OWNER, lane, row)
        return head.job_id if head else None


@pytest.fixture
def store() -> Store:
    return Store(FakeTable())


async def test_a_job_comes_back_as_it_was(store: Store) -> None:
    job = await store.submit(messages_total=3, metadata={"ä": "🙂"})
    assert await store.jobs.get(OWNER, job.job_id) == job
    assert job.lane == job.job_id


async def test_a_job_is_its_owners_alone(store: Store) -> None:
    job = await store.submit()
    for owner, job_id in (("x", job.job_id), (OWNER, new_id(Kind.JOB)), (OWNER, "job_")):
        with pytest.raises(RowMissingError):
            await store.jobs.get(owner, job_id)


async def test_progress_and_end_are_read_back(store: Store) -> None:
    job = await store.submit(messages_total=2)
    now = store.clock()
    running = job_change(job.job_id, status="running", started_at=now)
    first = job_change(job.job_id, results={0: {"content": "🙂" * 30_000}}, messages_done=1)
    end = job_change(job.job_id, status="failed", finished_at=now, problem={"code": "timeout"})
    for change in (running, first, end):
        await store.table.write(PARTITION, [change])
    read = await store.jobs.get(OWNER, job.job_id)
    assert (read.status, read.started_at, read.finished_at) == (JobStatus.FAILED, now, now)
    assert read.results == ({"content": "🙂" * 30_000},)
    assert (read.problem, read.messages_done) == ({"code": "timeout"}, 1)


def test_only_ended_jobs_are_terminal() -> None:
    assert [status for status in JobStatus if not status.is_terminal] == ["queued", "running"]


async def test_submitting_is_one_transaction_and_a_marker_for_a_new_lane(store: Store) -> None:
    store.table.reset_counts()
    await store.submit()
    assert (store.table.reads, store.table.writes) == (0, 2)
    thread_id = await store.thread()
    for writes in (2, 1, 1):
        store.table.reset_counts()
        await store.submit(thread_id)
        assert (store.table.reads, store.table.writes) == (0, writes)


async def test_a_job_without_a_thread_is_a_lane_of_its_own(store: Store) -> None:
    jobs = [await store.submit() for _ in range(2)]
    assert [await store.head(job.job_id) for job in jobs] == [job.job_id for job in jobs]


async def test_jobs_of_a_thread_wait_in_order(store: Store) -> None:
    thread_id = await store.thread()
    jobs = [await store.submit(thread_id) for _ in range(3)]
    for number, job in enumerate(jobs, start=1):
        assert await store.head(thread_id) == job.job_id
        row = await store.lanes.read(OWNER, newest_first(thread_id), fresh=True)
        assert has_waiting(row)
        advance = Change(Operation.MERGE, row.row_key, {"job_head": number + 1})
        await store.table.write(PARTITION, [advance])
    assert await store.head(thread_id) is None


async def test_a_head_brings_its_work(store: Store) -> None:
    job = await store.submit()
    row = await store.lanes.read(OWNER, newest_first(job.job_id))
    head = await store.jobs.head(OWNER, job.job_id, row)
    assert head is not None
    assert (head.job_id, head.work, head.messages_done) == (job.job_id, WORK, 0)
    await store.table.write(PARTITION, [Change(Operation.DELETE, head.box.row_key)])
    assert await store.jobs.head(OWNER, job.job_id, row) is None
    await store.table.write(
        PARTITION,
        [Change(Operation.INSERT, head.box.row_key, {"job_id": job.job_id, "messages_done": 0})],
    )
    unreadable = await store.jobs.head(OWNER, job.job_id, row)
    assert unreadable is not None
    assert unreadable.work == {}


async def test_a_job_for_a_thread_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(RowMissingError):
        await store.submit(new_id(Kind.THREAD))
    assert store.table.rows(PARTITION) == []


async def test_work_too_large_for_a_row_is_refused(store: Store) -> None:
    job = Job(new_id(Kind.JOB), OWNER, JobStatus.QUEUED, store.clock())
    with pytest.raises(DocumentTooLargeError):
        await store.jobs.submit(job, Work({"messages": ["x" * MAX_DOCUMENT_BYTES]}))
    assert store.table.rows(PARTITION) == []


async def test_a_job_that_exists_is_not_made_again(store: Store) -> None:
    thread_id = await store.thread()
    job = await store.submit(thread_id)
    with pytest.raises(RowExistsError):
        await store.submit(thread_id, job_id=job.job_id)
    assert len(store.table.rows(PARTITION, "box:")) == 1


async def test_a_remembered_row_that_another_instance_moved_on_is_read_again(
    store: Store,
) -> None:
    thread_id = await store.thread()
    other = Store(store.table)
    done = await other.submit(thread_id)
    row = await other.lanes.read(OWNER, newest_first(thread_id), fresh=True)
    head = await other.jobs.head(OWNER, thread_id, row)
    assert head is not None
    end = [
        Change(Operation.DELETE, head.box.row_key),
        Change(Operation.MERGE, row.row_key, {"job_head": 2}, row.etag),
    ]
    await store.table.write(PARTITION, end)
    second = await store.submit(thread_id)
    assert done.job_id != second.job_id
    assert await store.head(thread_id) == second.job_id


async def test_submits_at_the_same_time_each_get_a_place(store: Store) -> None:
    thread_id = await store.thread()
    stores = [store, *(Store(store.table) for _ in range(4))]
    jobs = await asyncio.gather(*(each.submit(thread_id) for each in stores for _ in range(2)))
    boxes = store.table.rows(PARTITION, "box:")
    assert {row.values["job_id"] for row in boxes} == {job.job_id for job in jobs}
    assert len(boxes) == 10
