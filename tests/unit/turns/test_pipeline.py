"""Turns: what they cost, what they leave behind, and that they come to their end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.config import AppSettings, SpendingSettings, StorageSettings
from shared.foundry.errors import FoundryError, InvalidRequestError, ServiceUnavailableError
from shared.foundry.events import MessageDelta, TurnStarted
from shared.foundry.models import TurnRequest, TurnResult
from shared.state.conversation_ids import ConversationIds
from shared.state.errors import (
    LaneBusyError,
    LeaseLostError,
    RowMissingError,
    StorageUnavailableError,
)
from shared.state.keys import Kind, new_id, newest_first, partition_key
from shared.state.lanes import LEASE_SECONDS, Lanes
from shared.state.table import Change, Operation
from shared.state.threads import Thread
from shared.state.turns import TurnMode
from shared.turns.background import QUIET_SECONDS, StillRunning
from shared.turns.command import AnsweredTurn, Progress, RunningTurn, TurnCommand, TurnOpened
from shared.turns.pipeline import Turns, TurnStorage
from shared.turns.recording import Recording
from tests.support.app_on_fakes import OWNER, RESOURCE, App, at_resource
from tests.support.fakes import SentWakeUp, unlimited
from tests.support.scripted_foundry import response_body
from tests.support.skipping_time import run_skipping

PARTITION = partition_key(OWNER)
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "unknown",
    "arguments": "{}",
}


async def add_thread(app: App, services: Services, **fields: Any) -> str:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, OWNER, now, now, **fields))
    return thread_id


async def ask(
    services: Services, text: str = "Hi", thread_id: str | None = None, seconds: float = 60
) -> AnsweredTurn:
    command = TurnCommand(OWNER, TurnRequest(text), seconds, thread_id)
    return await services.core.turns.run(command)


def records(app: App) -> list[dict[str, Any]]:
    return [dict(row.values) for row in app.table.rows(PARTITION, "turn:")]


async def test_a_turn_without_a_thread_is_one_transaction(app: App, services: Services) -> None:
    turn = await ask(services)
    assert (app.table.reads, app.table.writes) == (0, 1)
    assert turn.result.content == "You said: Hi"
    (record,) = records(app)
    assert record["status"] == "succeeded"
    assert (record["question"], record["answer"]) == ("Hi", "You said: Hi")
    assert record["total_tokens"] == 5
    assert record["created_at"] == app.clock()


async def test_a_turn_on_a_remembered_thread_is_two(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    for _ in range(3):
        app.table.reset_counts()
        await ask(services, thread_id=thread_id)
        assert (app.table.reads, app.table.writes) == (0, 2)


async def test_a_turn_on_a_thread_of_another_instance_is_three(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    app.table.reset_counts()
    await ask(app.services(), thread_id=thread_id)
    assert (app.table.reads, app.table.writes) == (1, 2)


async def test_a_turn_costs_the_same_however_long_the_thread(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services, message_count=1000)
    calls = len(app.foundry.calls)
    await ask(services, thread_id=thread_id)
    assert len(app.foundry.calls) == calls + 1


async def test_the_thread_counts_and_remembers_where_it_is(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    first = await ask(services, "one", thread_id)
    app.clock.advance(10)
    second = await ask(services, "two", thread_id)
    thread = await services.core.threads.get(OWNER, thread_id)
    assert (thread.message_count, thread.total_tokens) == (2, 10)
    assert thread.last_accessed == app.clock()
    assert thread.last_response_id == second.result.response_id
    assert app.foundry.sent[1]["previous_response_id"] == first.result.response_id
    assert len(records(app)) == 2


async def test_a_thread_at_a_project_gets_its_conversation_with_its_first_turn(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services, metadata={"k": "v"})
    for text in ("one", "two"):
        await ask(services, text, thread_id)
    (name,) = app.foundry.conversations
    assert [body["conversation"] for body in app.foundry.sent] == [name, name]
    thread = await services.core.threads.get(OWNER, thread_id)
    assert thread.conversation_id == name
    assert thread.last_item_id == app.foundry.conversations[name][-1]["id"]
    assert records(app)[0]["agent_id"] == "helper:3"


async def test_a_failed_turn_is_recorded_and_raised(app: App, services: Services) -> None:
    app.foundry.then_fail(500, {"code": "server_error"}, x_request_id="r-1")
    with pytest.raises(ServiceUnavailableError):
        await ask(services)
    (record,) = records(app)
    assert (record["status"], record["error_code"]) == ("failed", "service_unavailable")
    assert record["request_id"] == "r-1"
    assert record["question"] == "Hi"
    assert "answer" not in record


async def test_a_failed_turn_on_a_thread_frees_it_and_counts_nothing(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    app.foundry.then_fail(400)
    app.clock.advance(5)
    with pytest.raises(InvalidRequestError):
        await ask(services, thread_id=thread_id)
    thread = await services.core.threads.get(OWNER, thread_id)
    assert (thread.message_count, thread.last_response_id) == (0, None)
    assert thread.last_accessed == app.clock()
    await ask(services, thread_id=thread_id)
    assert [record["status"] for record in records(app)].count("failed") == 1


async def test_a_turns_row_says_for_whom_it_was_and_what_it_took(
    app: App, services: Services
) -> None:
    pairs = {"department": "finance", "user_id": "u-1"}
    thread_id = await add_thread(app, services, metadata=pairs)
    own = TurnRequest("Hi", metadata={"user_id": "u-2"})
    await services.core.turns.run(TurnCommand(OWNER, own, 60, thread_id))
    await ask(services)
    alone, on_thread = records(app)
    assert (on_thread["department"], on_thread["user_id"]) == ("finance", "u-2")
    assert "department" not in alone
    assert on_thread["overhead"] > 0
    assert "retries" not in on_thread
    assert "cost" not in on_thread


async def test_a_turn_costs_what_the_price_table_says(app: App) -> None:
    prices = '{"models": {"*": {"input": 1, "output": 2}}}'
    app.settings = AppSettings(
        foundry=app.settings.foundry, spending=SpendingSettings(prices=prices)
    )
    services = app.services()
    await ask(services)
    app.foundry.then_fail(400)
    with pytest.raises(InvalidRequestError):
        await ask(services)
    answered, refused = sorted(records(app), key=lambda record: "error_code" in record)
    assert answered["cost"] == 1000 * (answered["input_tokens"] + 2 * answered["output_tokens"])
    assert refused["cost"] == 0


async def test_texts_are_not_kept_where_nobody_wants_them(app: App) -> None:
    app.settings = AppSettings(
        foundry=app.settings.foundry, storage=StorageSettings(record_content=False)
    )
    await ask(app.services(), "a secret")
    (record,) = records(app)
    assert "question" not in record
    assert "answer" not in record
    assert "secret" not in str(record)


async def test_two_turns_on_a_thread_do_not_overlap(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    first = asyncio.create_task(ask(services, "one", thread_id))
    await arrived.wait()
    for instance in (services, app.services()):
        with pytest.raises(LaneBusyError) as caught:
            await ask(instance, "two", thread_id)
        assert caught.value.retry_after == LEASE_SECONDS
    release.set()
    await first
    await ask(services, "two", thread_id)
    assert app.foundry.messages == ["one", "two"]


async def test_a_thread_that_is_not_there_costs_no_answer(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    for missing in (new_id(Kind.THREAD), new_id(Kind.JOB), "", "thread_x"):
        with pytest.raises(RowMissingError):
            await ask(services, thread_id=missing)
    command = TurnCommand("somebody", TurnRequest("Hi"), 60, thread_id)
    with pytest.raises(RowMissingError):
        await services.core.turns.run(command)
    assert app.foundry.calls == []


async def test_an_expired_thread_takes_no_message(app: App, services: Services) -> None:
    expires_at = app.clock() + timedelta(seconds=60)
    thread_id = await add_thread(app, services, expires_at=expires_at)
    app.clock.advance(61)
    with pytest.raises(RowMissingError):
        await ask(services, thread_id=thread_id)


async def test_a_turn_that_lost_its_lease_leaves_nothing(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    slow = asyncio.create_task(ask(services, "slow", thread_id))
    await arrived.wait()
    app.clock.advance(LEASE_SECONDS)
    await ask(app.services(), "taken over", thread_id)
    release.set()
    with pytest.raises(LeaseLostError):
        await slow
    assert [record["question"] for record in records(app)] == ["taken over"]
    assert (await services.core.threads.get(OWNER, thread_id)).message_count == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503, json={"error": {}}, headers={"retry-after": "0"}),
        httpx.Response(200, json=response_body(output=[CALL])),
    ],
    ids=["a retry", "the outputs of tools"],
)
async def test_nothing_is_sent_once_the_thread_was_taken_over(
    app: App, answer: httpx.Response
) -> None:
    """The process stands still between two requests for longer than its lease."""
    app.settings = AppSettings(foundry=at_resource(max_retries=2))
    services, successor = app.services(), app.services()
    thread_id = await add_thread(app, services)

    async def stand_still(_: httpx.Request) -> httpx.Response:
        app.clock.advance(LEASE_SECONDS)
        await ask(successor, "slow", thread_id)
        return answer

    app.foundry.then(stand_still)
    with pytest.raises(LeaseLostError):
        await ask(services, "slow", thread_id)
    assert app.foundry.messages == ["slow", "slow"]
    assert len(app.foundry.sent) == 2
    assert [record["status"] for record in records(app)] == ["succeeded"]


async def test_a_stall_without_a_successor_costs_one_renewal(app: App) -> None:
    app.settings = AppSettings(foundry=at_resource(max_retries=2))
    services = app.services()
    thread_id = await add_thread(app, services)

    async def stand_still(_: httpx.Request) -> httpx.Response:
        app.clock.advance(LEASE_SECONDS * 2)
        return httpx.Response(503, json={"error": {}}, headers={"retry-after": "0"})

    app.foundry.then(stand_still)
    app.table.reset_counts()
    await ask(services, "slow", thread_id)
    assert (app.table.reads, app.table.writes) == (0, 3)


async def test_a_caller_who_goes_away_does_not_undo_the_turn(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    calling = asyncio.create_task(ask(services, thread_id=thread_id))
    await arrived.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert records(app) == []
    release.set()
    await services.core.turns.aclose()
    assert records(app)[0]["status"] == "succeeded"
    assert (await services.core.threads.get(OWNER, thread_id)).message_count == 1


async def test_a_turn_nobody_waits_for_may_fail_quietly(app: App, services: Services) -> None:
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    calling = asyncio.create_task(ask(services))
    await arrived.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    app.table.available = False
    release.set()
    await services.core.turns.aclose()
    assert records(app) == []


async def test_a_turn_that_cannot_be_recorded_is_an_error(app: App, services: Services) -> None:
    app.table.available = False
    with pytest.raises(StorageUnavailableError):
        await ask(services)


async def wait_in_lane(app: App, thread_id: str) -> None:
    change = Change(Operation.MERGE, newest_first(thread_id), {"job_tail": 1})
    await app.table.write(PARTITION, [change])


async def test_jobs_that_came_meanwhile_are_woken(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    asking = asyncio.create_task(ask(services, thread_id=thread_id))
    await arrived.wait()
    await wait_in_lane(app, thread_id)
    release.set()
    await asking
    assert app.queues.wake_ups == [SentWakeUp(OWNER, thread_id)]


async def test_jobs_are_woken_after_a_failed_turn_as_well(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    await wait_in_lane(app, thread_id)
    app.foundry.then_fail(500)
    with pytest.raises(ServiceUnavailableError):
        await ask(services, thread_id=thread_id)
    assert app.queues.wake_ups == [SentWakeUp(OWNER, thread_id)]


async def test_nobody_is_woken_for_nothing(app: App, services: Services) -> None:
    await ask(services, thread_id=await add_thread(app, services))
    await ask(services)
    assert app.queues.wake_ups == []


async def test_an_answer_is_given_even_if_no_worker_can_be_woken(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    await wait_in_lane(app, thread_id)
    app.queues.available = False
    assert (await ask(services, thread_id=thread_id)).result.content == "You said: Hi"


async def test_a_malformed_answer_is_recorded_and_frees_the_thread(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    part = {"type": "output_text", "text": None}
    output = [{"type": "message", "content": [part]}]
    app.foundry.then(httpx.Response(200, json={"id": "resp_x", "output": output}))
    await asyncio.gather(ask(services, thread_id=thread_id), return_exceptions=True)
    assert len(records(app)) == 1
    await ask(services, thread_id=thread_id)


async def test_a_failed_first_turn_keeps_the_conversation(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    app.foundry.then_fail(500)
    with pytest.raises(ServiceUnavailableError):
        await ask(services, thread_id=thread_id)
    await ask(services, thread_id=thread_id)
    assert len(app.foundry.conversations) == 1


async def test_a_turn_has_its_own_deadline(app: App) -> None:
    app.settings = AppSettings(foundry=at_resource(endpoint_url=RESOURCE, timeout=1000))
    services = app.services()
    app.foundry.then_hold(asyncio.Event())
    with pytest.raises(TimeoutError, match=r"within 0\.0[012]\d* s"):
        await ask(services, seconds=0.02)
    assert records(app)[0]["error_code"] == "timeout"


async def test_a_turn_whose_deadline_passed_before_it_is_sent_gets_no_new_one(app: App) -> None:
    app.settings = AppSettings(foundry=at_resource(endpoint_url=RESOURCE, timeout=1))
    app.foundry.then_hold(asyncio.Event())
    with pytest.raises(TimeoutError, match="within 0 s"):
        await ask(app.services(), seconds=0)


async def listen(services: Services, **fields: Any) -> list[Progress]:
    command = TurnCommand(OWNER, TurnRequest("Hi there"), 60, mode=TurnMode.STREAM, **fields)
    return [event async for event in services.core.turns.stream(command)]


async def test_a_streamed_turn_tells_everything_in_order(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    opened, started, *deltas, turn = await listen(services, thread_id=thread_id)
    assert isinstance(turn, AnsweredTurn)
    assert opened == TurnOpened(turn.turn_id, thread_id)
    assert started == TurnStarted(turn.result.response_id)
    text = "".join(event.text for event in deltas if isinstance(event, MessageDelta))
    assert text == turn.result.content == "You said: Hi there"
    (record,) = records(app)
    assert (record["mode"], record["answer"]) == ("stream", text)


async def test_a_streamed_turn_costs_what_any_turn_costs(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    app.table.reset_counts()
    await listen(services, thread_id=thread_id)
    assert (app.table.reads, app.table.writes) == (0, 2)
    app.table.reset_counts()
    await listen(services)
    assert (app.table.reads, app.table.writes) == (0, 1)


async def test_the_turn_comes_after_its_commit(app: App, services: Services) -> None:
    async def then_wait(request: httpx.Request) -> httpx.Response:
        app.table.before_next_write(before_the_commit)
        return await app.foundry.answer(request)

    async def before_the_commit() -> None:
        while not any(isinstance(event, MessageDelta) for event in seen):
            await asyncio.sleep(0)
        assert not any(isinstance(event, AnsweredTurn) for event in seen)

    seen: list[Progress] = []
    app.foundry.then(then_wait)
    async for event in services.core.turns.stream(TurnCommand(OWNER, TurnRequest("Hi"), 60)):
        seen.append(event)
        assert not isinstance(event, AnsweredTurn) or len(records(app)) == 1
    assert isinstance(seen[-1], AnsweredTurn)


async def test_a_streamed_turn_that_fails_raises_at_its_end(app: App, services: Services) -> None:
    app.foundry.then_fail(400)
    events = services.core.turns.stream(TurnCommand(OWNER, TurnRequest("Hi"), 60))
    assert isinstance(await anext(events), TurnOpened)
    with pytest.raises(InvalidRequestError):
        await anext(events)
    assert records(app)[0]["status"] == "failed"


async def test_who_stops_listening_does_not_stop_the_turn(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    command = TurnCommand(OWNER, TurnRequest("Hi"), 60, thread_id)
    events = services.core.turns.stream(command)
    assert isinstance(await anext(events), TurnOpened)
    await arrived.wait()
    await events.aclose()
    release.set()
    await services.core.turns.aclose()
    assert records(app)[0]["status"] == "succeeded"
    assert (await services.core.threads.get(OWNER, thread_id)).message_count == 1


async def test_who_is_cancelled_while_listening_does_not_stop_the_turn(
    app: App, services: Services
) -> None:
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    listening = asyncio.create_task(listen(services))
    await arrived.wait()
    listening.cancel()
    done, _ = await asyncio.wait([listening], timeout=2)
    release.set()
    assert done
    assert listening.cancelled()
    await services.core.turns.aclose()
    assert records(app)[0]["status"] == "succeeded"


def test_a_quiet_turn_says_that_it_still_runs() -> None:
    async def main() -> list[Progress]:
        app = App()
        services = app.services()

        async def think(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(3.5 * QUIET_SECONDS)
            return await app.foundry.answer(request)

        app.foundry.then(think)
        events = await listen(services)
        await app.aclose()
        return events

    events = run_skipping(main())
    assert [type(event) for event in events[:5]] == [
        TurnOpened,
        StillRunning,
        StillRunning,
        StillRunning,
        TurnStarted,
    ]
    assert isinstance(events[-1], AnsweredTurn)


async def test_a_turn_that_failed_makes_the_next_one_look_first(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    await ask(services, "one", thread_id)
    app.foundry.then_hear()
    app.foundry.then(httpx.ReadError("the look fails as well"), "/items")
    with pytest.raises(ServiceUnavailableError):
        await ask(services, "two", thread_id, seconds=1)
    assert (await services.core.threads.get(OWNER, thread_id)).unsettled
    turn = await ask(services, "two", thread_id, seconds=1)
    assert turn.result.content == "You said: two"
    (name,) = app.foundry.conversations
    users = [item for item in app.foundry.conversations[name] if item["role"] == "user"]
    assert [item["content"] for item in users] == ["one", "two"]
    calls = len(app.foundry.calls)
    await ask(services, "three", thread_id)
    assert len(app.foundry.calls) == calls + 1


async def test_a_thread_of_an_earlier_version_is_in_foundry_as_far_as_it_goes(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    await ask(services, "one", thread_id)
    app.foundry.then_hear()
    app.foundry.then(httpx.ReadError("the look fails as well"), "/items")
    with pytest.raises(ServiceUnavailableError):
        await ask(services, "two", thread_id, seconds=1)
    (row,) = app.table.rows(PARTITION, "thread:")
    values = {name: v for name, v in row.values.items() if name != "messages_in_foundry"}
    await app.table.write(PARTITION, [Change(Operation.REPLACE, row.row_key, values)])
    await ask(app.services(), "two", thread_id, seconds=1)
    (items,) = app.foundry.conversations.values()
    assert [item["content"] for item in items if item["role"] == "user"] == ["one", "two"]


async def test_a_turn_whose_instance_died_is_looked_after_by_the_next(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    await ask(services, "one", thread_id)
    (name,) = app.foundry.conversations
    app.foundry.conversations[name] += [
        {"type": "message", "id": "msg_q", "role": "user", "content": "two"},
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f"},
    ]
    await Lanes(app.table, app.clock).take(OWNER, newest_first(thread_id), "turn_dead")
    app.clock.advance(LEASE_SECONDS)
    await ask(services, "three", thread_id)
    kinds = [item["type"] for item in app.foundry.sent[-1]["input"]]
    assert kinds == ["function_call_output", "message"]


async def test_a_failure_that_passes_is_not_seen_by_the_caller(app: App) -> None:
    app.settings = AppSettings(foundry=at_resource(max_retries=2))
    services = app.services()
    for _ in range(2):
        app.foundry.then_fail(503, retry_after="0")
    assert (await ask(services)).result.content == "You said: Hi"
    assert len(records(app)) == 1
    assert services.core.foundry.metrics.snapshot()["retries"] == 2


def test_a_second_turn_waits_for_the_first_as_long_as_it_may() -> None:
    async def story() -> None:
        app = App()
        services = app.services()
        thread_id = await add_thread(app, services)
        release = asyncio.Event()
        arrived = app.foundry.then_hold(release)
        first = asyncio.create_task(ask(services, "one", thread_id))
        await arrived.wait()
        impatient = TurnCommand(OWNER, TurnRequest("two"), 60, thread_id, wait=5)
        with pytest.raises(LaneBusyError):
            await app.services().core.turns.run(impatient)
        patient = replace(impatient, request=TurnRequest("three"), wait=30)
        waiting = asyncio.create_task(app.services().core.turns.run(patient))
        await asyncio.sleep(10)
        release.set()
        assert (await waiting).result.content == "You said: three"
        await first
        assert app.foundry.messages == ["one", "three"]
        await app.aclose()

    run_skipping(story())


class Failing:
    """An answerer with a fault of its own."""

    async def answer(self, turn: RunningTurn) -> TurnResult:
        raise RuntimeError("a fault")


async def test_an_unexpected_failure_of_an_orchestrated_turn_is_recorded(app: App) -> None:
    core = app.services().core
    lanes = Lanes(app.table, app.clock)
    ids = ConversationIds(app.table, lanes, app.clock)
    storage = TurnStorage(app.table, lanes, app.clock, app.queues.wake, ids)
    recording = Recording(core.audit, core.meter, unlimited(app.clock), content=True)
    turns = Turns(None, Failing(), storage, recording)
    command = TurnCommand(
        OWNER, TurnRequest("Hi"), 60, conversation_id="conv-001", orchestrated=True
    )
    with pytest.raises(FoundryError, match="request id"):
        await turns.run(command)
    (record,) = records(app)
    assert (record["status"], record["error_code"]) == ("failed", "internal_error")
    (thread,) = app.table.rows(PARTITION, "thread:")
    assert thread.values["lease_holder"] == ""
