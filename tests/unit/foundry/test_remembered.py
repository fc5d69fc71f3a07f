"""What a client remembers of its threads, and whose turn it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from shared.foundry import (
    FoundryAgentServiceClient,
    NotFoundError,
    ThreadBusyError,
)
from shared.foundry.exchange import TURN_MARK
from shared.foundry.models import FinishReason, ThreadInfo, ThreadRef, TurnRequest, TurnResult
from shared.foundry.remembered import (
    MAX_LOST_MESSAGES,
    MAX_REMEMBERED_THREADS,
    RememberedThread,
    RememberedThreads,
)
from tests.support.app_on_fakes import at_resource
from tests.support.scripted_foundry import ScriptedFoundry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS = 10.0


def thread(name: str = "conv_1") -> RememberedThread:
    return RememberedThread(ThreadInfo(name, None, NOW, NOW), ThreadRef(name, last_item_id="i_0"))


def result(item_id: str | None = "i_1") -> TurnResult:
    return TurnResult("Yes.", FinishReason.STOP, "resp_1", "m", last_item_id=item_id)


async def fail(on: RememberedThread, message: str) -> str:
    """Send a message whose answer is lost; its mark."""
    async with on.turn(TurnRequest(message), SECONDS) as sending:
        return sending.request.metadata[TURN_MARK]


async def test_threads_used_longest_ago_are_forgotten() -> None:
    threads = RememberedThreads()
    for number in range(MAX_REMEMBERED_THREADS):
        threads.add(thread(str(number)))
    assert threads.get("0")
    async with threads.get("1").turn(TurnRequest("Hi"), SECONDS):  # type: ignore[union-attr]
        threads.add(thread("new"))
        threads.add(thread("newer"))
        known = {info.thread_id for info in threads.infos()}
    assert len(known) == MAX_REMEMBERED_THREADS
    assert {"0", "1", "new", "newer"} <= known
    assert not {"2", "3"} & known


async def test_the_threads_of_a_client_are_bounded() -> None:
    foundry = ScriptedFoundry()
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        first = await client.create_thread()
        for _ in range(MAX_REMEMBERED_THREADS):
            await client.create_thread()
        assert len(await client.list_threads()) == MAX_REMEMBERED_THREADS
        with pytest.raises(NotFoundError, match="used last"):
            await client.send_message_or_raise("Hi", first)


async def test_what_is_known_already_stays() -> None:
    threads = RememberedThreads()
    known = threads.add(thread())
    assert threads.add(thread()) is known


async def test_a_lost_message_is_known_by_its_mark_when_it_comes_again() -> None:
    on = thread()
    mark = await fail(on, "Hi")
    async with on.turn(TurnRequest("Hi"), SECONDS) as again:
        assert again.request.metadata[TURN_MARK] == mark
        assert (again.thread.sent_before, again.thread.by_others) == (True, False)
        assert again.thread.look_first
        again.result = result()
    async with on.turn(TurnRequest("Hi"), SECONDS) as new:
        assert new.request.metadata[TURN_MARK] != mark
        assert (new.thread.sent_before, new.thread.by_others) == (False, True)
        assert (new.thread.look_first, new.thread.last_item_id) == (False, "i_1")


async def test_an_equal_message_that_waited_is_not_a_new_try() -> None:
    on, marks = thread(), list[str]()

    async def wait() -> None:
        async with on.turn(TurnRequest("Hi"), SECONDS) as sending:
            marks.append(sending.request.metadata[TURN_MARK])
            assert not sending.thread.sent_before

    async with on.turn(TurnRequest("Hi"), SECONDS) as first:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    await waiting
    assert marks != [first.request.metadata[TURN_MARK]]


async def test_lost_messages_are_remembered_within_bounds() -> None:
    on = thread()
    marks = [await fail(on, str(number)) for number in range(MAX_LOST_MESSAGES + 1)]
    assert await fail(on, "1") == marks[1]
    assert await fail(on, "0") != marks[0]


async def test_an_answer_found_further_back_leaves_the_rest_to_be_looked_at() -> None:
    on = thread()
    async with on.turn(TurnRequest("Hi"), SECONDS) as sending:
        sending.result = result(None)
    assert (on.ref.look_first, on.ref.last_item_id) == (True, "i_0")


async def test_a_chain_is_not_marked_nor_a_message_without_room() -> None:
    chain = RememberedThread(ThreadInfo("t", None, NOW, NOW), ThreadRef())
    async with chain.turn(TurnRequest("Hi"), SECONDS) as sending:
        assert sending.request.metadata == {}
    full = {str(number): "x" for number in range(16)}
    async with thread().turn(TurnRequest("Hi", metadata=full), SECONDS) as sending:
        assert sending.request.metadata == full


async def test_a_thread_in_use_is_busy_and_then_free() -> None:
    on = thread()
    async with on.turn(TurnRequest("one"), SECONDS):
        with pytest.raises(ThreadBusyError):
            async with on.turn(TurnRequest("two"), 0.01):
                pytest.fail("two turns at once")
        assert on.users == 1
    async with on.turn(TurnRequest("two"), 0.01):
        assert on.users == 1
    assert on.users == 0


async def test_who_waits_for_a_thread_that_is_deleted_is_told() -> None:
    on, threads = thread(), RememberedThreads()
    threads.add(on)

    async def wait() -> None:
        async with on.turn(TurnRequest("Hi"), SECONDS):
            pytest.fail("a turn on a deleted thread")

    async with on.alone(SECONDS):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        threads.forget(on)
    with pytest.raises(NotFoundError, match="deleted"):
        await waiting
    assert threads.get("conv_1") is None
