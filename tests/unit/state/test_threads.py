"""Threads: kept, found by metadata, merged, hidden while they go, and gone when they expire."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.state.errors import LaneBusyError, MetadataFullError, RowMissingError
from shared.state.jobs import Job, Jobs, JobStatus
from shared.state.keys import Kind, new_id, newest_first, partition_key
from shared.state.lanes import Lanes
from shared.state.mailbox import Work
from shared.state.table import Change, Operation
from shared.state.threads import MAX_METADATA_PAIRS, Thread, Threads
from tests.support.fakes import FakeClock, FakeTable

OWNER = "tid:oid"


class Store:
    """The threads of one app instance, and what they stand on."""

    def __init__(self) -> None:
        self.table = FakeTable()
        self.clock = FakeClock()
        self.lanes = Lanes(self.table, self.clock)
        self.threads = Threads(self.table, self.lanes, self.clock)

    async def add(self, **fields: Any) -> Thread:
        now = self.clock()
        given: dict[str, Any] = {"thread_id": new_id(Kind.THREAD), "owner": OWNER, **fields}
        thread = Thread(created_at=now, last_accessed=now, **given)
        await self.threads.add(thread)
        return thread

    async def ids(
        self, metadata: dict[str, str] | None = None, limit: int = 100, after: str | None = None
    ) -> list[str]:
        found = await self.threads.list(OWNER, limit=limit, after=after, metadata=metadata or {})
        return [thread.thread_id for thread in found]


@pytest.fixture
def store() -> Store:
    return Store()


async def test_a_thread_comes_back_as_it_was(store: Store) -> None:
    thread = await store.add(
        agent_id="helper",
        message_count=3,
        total_tokens=2**40,
        metadata={"topic": "cats", "ä ö": "'quoted' \\ 🙂", "": ""},
        conversation_id="conv_1",
        last_response_id="resp_1",
        last_item_id="msg_1",
        expires_at=store.clock() + timedelta(days=1),
    )
    assert await store.threads.get(OWNER, thread.thread_id) == thread
    plain = await store.add()
    assert await store.threads.get(OWNER, plain.thread_id) == plain


async def test_a_thread_is_its_owners_alone(store: Store) -> None:
    thread = await store.add()
    for owner, thread_id in (
        ("somebody", thread.thread_id),
        (OWNER, new_id(Kind.THREAD)),
        (OWNER, new_id(Kind.JOB)),
        (OWNER, "thread_x'y"),
        (OWNER, ""),
    ):
        with pytest.raises(RowMissingError):
            await store.threads.get(owner, thread_id)
        with pytest.raises(RowMissingError):
            await store.threads.start_removal(owner, thread_id)
        with pytest.raises(RowMissingError):
            await store.threads.merge_metadata(owner, thread_id, {"a": "b"})
    assert await store.threads.list("somebody", limit=5, after=None, metadata={}) == []


async def test_threads_are_listed_newest_first_page_by_page(store: Store) -> None:
    threads = [await store.add(thread_id=f"thread_01ARZ3NDEKTSV4RRFFQ69G5FA{n}") for n in range(5)]
    newest_first_ids = [thread.thread_id for thread in reversed(threads)]
    assert await store.ids() == newest_first_ids
    first = await store.ids(limit=2)
    second = await store.ids(limit=2, after=first[-1])
    assert [*first, *second, *await store.ids(after=second[-1])] == newest_first_ids


async def test_jobs_are_not_listed_among_threads(store: Store) -> None:
    job = Job(new_id(Kind.JOB), OWNER, JobStatus.QUEUED, store.clock())
    await Jobs(store.table, store.lanes).submit(job, Work({"messages": ["x"]}))
    thread = await store.add()
    assert await store.ids() == [thread.thread_id]


async def test_threads_are_found_by_all_given_metadata(store: Store) -> None:
    red = await store.add(metadata={"colour": "red", "size": "it's and big"})
    await store.add(metadata={"colour": "blue", "size": "it's and big"})
    odd = await store.add(metadata={"the colour": "red"})
    assert await store.ids({"colour": "red"}) == [red.thread_id]
    assert await store.ids({"colour": "red", "size": "it's and big"}) == [red.thread_id]
    assert await store.ids({"the colour": "red"}) == [odd.thread_id]
    assert await store.ids({"colour": "' or '' eq '"}) == []
    assert await store.ids({"colour": "RED"}) == []


async def test_metadata_is_merged_and_null_removes(store: Store) -> None:
    thread = await store.add(metadata={"a": "1", "b": "2", "odd key": "3"})
    merged = await store.threads.merge_metadata(
        OWNER, thread.thread_id, {"a": None, "b": "new", "odd key": None, "c": "4", "no": None}
    )
    assert merged.metadata == {"b": "new", "c": "4"}
    assert (await store.threads.get(OWNER, thread.thread_id)).metadata == merged.metadata
    assert await store.ids({"a": "1"}) == []
    assert await store.ids({"odd key": "3"}) == []
    assert await store.ids({"b": "new", "c": "4"}) == [thread.thread_id]


async def test_merging_changes_nothing_else(store: Store) -> None:
    thread = await store.add(message_count=7, conversation_id="conv_1", metadata={"m_a": "x"})
    key = newest_first(thread.thread_id)
    lease = await store.lanes.take(OWNER, key, "t1")
    await store.threads.merge_metadata(OWNER, thread.thread_id, {"b": "1"})
    kept = await store.threads.get(OWNER, thread.thread_id)
    assert (kept.message_count, kept.conversation_id) == (7, "conv_1")
    await store.lanes.release(lease, {"message_count": 8})
    kept = await store.threads.get(OWNER, thread.thread_id)
    assert (kept.message_count, kept.metadata) == (8, {"m_a": "x", "b": "1"})


async def test_merges_at_the_same_time_all_count(store: Store) -> None:
    thread = await store.add()
    await asyncio.gather(
        *(store.threads.merge_metadata(OWNER, thread.thread_id, {f"k{n}": "v"}) for n in range(10))
    )
    assert len((await store.threads.get(OWNER, thread.thread_id)).metadata) == 10


async def test_a_thread_has_room_for_sixteen_pairs(store: Store) -> None:
    full = {f"k{n}": "v" * 512 for n in range(MAX_METADATA_PAIRS)}
    thread = await store.add(metadata=full)
    with pytest.raises(MetadataFullError):
        await store.threads.merge_metadata(OWNER, thread.thread_id, {"one more": "v"})
    swapped = await store.threads.merge_metadata(
        OWNER, thread.thread_id, {"k0": None, "one more": "v"}
    )
    assert len(swapped.metadata) == MAX_METADATA_PAIRS


async def test_the_longest_metadata_of_any_language_fits(store: Store) -> None:
    wide = {f"{n:02}{'🙂' * 62}": "🙂" * 512 for n in range(MAX_METADATA_PAIRS)}
    thread = await store.add(metadata=wide)
    assert (await store.threads.get(OWNER, thread.thread_id)).metadata == wide


async def test_an_expired_thread_is_gone(store: Store) -> None:
    thread = await store.add(expires_at=store.clock() + timedelta(seconds=60))
    store.clock.advance(59)
    assert await store.threads.get(OWNER, thread.thread_id) == thread
    store.clock.advance(1)
    with pytest.raises(RowMissingError):
        await store.threads.get(OWNER, thread.thread_id)
    with pytest.raises(RowMissingError):
        await store.threads.merge_metadata(OWNER, thread.thread_id, {})


async def test_an_expired_thread_is_not_listed(store: Store) -> None:
    await store.add(expires_at=store.clock() + timedelta(seconds=60))
    store.clock.advance(61)
    assert await store.ids() == []


async def test_a_thread_is_hidden_while_it_is_deleted(store: Store) -> None:
    thread = await store.add()
    assert await store.threads.start_removal(OWNER, thread.thread_id) == thread
    with pytest.raises(RowMissingError):
        await store.threads.get(OWNER, thread.thread_id)
    with pytest.raises(RowMissingError):
        await store.lanes.take(OWNER, newest_first(thread.thread_id), "t1")
    assert await store.ids() == []
    again = await store.threads.start_removal(OWNER, thread.thread_id)
    await store.threads.finish_removal(again)
    await store.threads.finish_removal(again)
    assert store.table.rows(partition_key(OWNER)) == []


async def test_a_thread_in_use_is_not_deleted(store: Store) -> None:
    thread = await store.add()
    lease = await store.lanes.take(OWNER, newest_first(thread.thread_id), "t1")
    with pytest.raises(LaneBusyError) as caught:
        await store.threads.start_removal(OWNER, thread.thread_id)
    assert caught.value.retry_after == 60
    await store.lanes.release(lease, {"job_tail": 1})
    with pytest.raises(LaneBusyError):
        await store.threads.start_removal(OWNER, thread.thread_id)


async def test_a_turn_that_begins_just_before_the_removal_wins(store: Store) -> None:
    thread = await store.add()
    key = newest_first(thread.thread_id)

    async def begin() -> None:
        await Lanes(store.table, store.clock).take(OWNER, key, "t1")

    store.table.before_next_write(begin)
    with pytest.raises(LaneBusyError):
        await store.threads.start_removal(OWNER, thread.thread_id)


async def test_a_change_in_between_does_not_stop_a_removal(store: Store) -> None:
    thread = await store.add()
    change = Change(Operation.MERGE, newest_first(thread.thread_id), {"message_count": 1})
    store.table.before_next_write(lambda: store.table.write(partition_key(OWNER), [change]))
    assert (await store.threads.start_removal(OWNER, thread.thread_id)).message_count == 1
