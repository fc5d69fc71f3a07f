"""A client's threads: callers at once, callers who leave, clients that share a thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from time import monotonic
from typing import Any

import pytest

from shared.foundry import FoundryAgentServiceClient
from shared.foundry.errors import ThreadBusyError
from shared.foundry.events import ToolFinished, ToolStarted, TurnCompleted
from shared.foundry.models import TurnRequest
from shared.orchestration import ModelOrchestrator, ModelType
from shared.state.errors import LeaseLostError
from shared.turns.command import AnsweredTurn
from tests.support.laboratory import (
    WAIT_SECONDS,
    JsonObject,
    Laboratory,
    Where,
    answered,
    new_name,
    said,
)

from .test_killed_client import ask, fresh, outputs
from .turning import Way

WAYS = pytest.mark.parametrize("way", list(Way))
PROMPTLY = 5.0
"""Seconds: far less than the tools below take."""


async def stop_me() -> str:
    """Run until stopped."""
    await asyncio.sleep(60)
    return ""


async def deaf() -> str:
    """Go on although stopped."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(3)
    return ""


def in_thread() -> str:
    """Run in a thread that nothing can stop."""
    threading.Event().wait(60)
    return ""


async def quick() -> str:
    """Return at once."""
    return "done"


@asynccontextmanager
async def client_on_a_thread(
    lab: Laboratory, where: Where = Where.THREAD, **settings: Any
) -> AsyncGenerator[tuple[FoundryAgentServiceClient, str]]:
    config = lab.config(where, **settings)
    async with FoundryAgentServiceClient(config, identity=lab.identity) as client:
        yield client, await client.create_thread()


async def strike(lab: Laboratory, thread_id: str, kind: str, **more: Any) -> None:
    """Let a fault strike a message on the thread."""
    at = {"operation": "responses.create", "match": {"conversation": thread_id}}
    answer = await lab.http.post("/_emulator/faults", json={**at, "kind": kind, **more})
    assert answer.status_code == 201, answer.text


def calling(*functions: Callable[..., Any]) -> str:
    return "\n".join(f"/call {function.__name__}" for function in functions)


def open_calls(items: list[JsonObject]) -> set[str]:
    called = {item["call_id"] for item in items if item["type"] == "function_call"}
    return called - {i["call_id"] for i in items if i["type"] == "function_call_output"}


@WAYS
@pytest.mark.parametrize("function", [stop_me, deaf, in_thread])
async def test_a_time_out_around_a_message_is_kept_and_leaves_no_call_open(
    lab: Laboratory, way: Way, function: Callable[..., Any]
) -> None:
    async with client_on_a_thread(lab) as (client, thread_id):
        sending = send(client, way, calling(function, quick), thread_id, function, quick)
        started = monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await sending
        assert monotonic() - started < 1 + PROMPTLY
        items = await lab.items(thread_id)
        assert open_calls(items) == set()
        assert outputs(items) == ["The tool was stopped before it finished.", "done"]
        async with fresh(lab, Where.THREAD) as other:
            assert await ask(other, way, "and now?", thread_id) == "You said: and now?"
        assert await ask(client, way, "bye", thread_id) == "You said: bye"


async def send(
    client: FoundryAgentServiceClient, way: Way, text: str, thread_id: str, *tools: Any
) -> None:
    if way is Way.JSON:
        await client.send_message_or_raise(text, thread_id, tools=tools)
        return
    async with aclosing(client.stream_message(text, thread_id, tools=tools)) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize("at", [ToolStarted, ToolFinished])
@pytest.mark.parametrize("closes", [True, False], ids=["aclose", "break"])
async def test_a_stream_that_is_left_at_a_tool_leaves_no_call_open(
    lab: Laboratory, at: type[ToolStarted | ToolFinished], closes: bool
) -> None:
    async with client_on_a_thread(lab) as (client, thread_id):
        events = client.stream_message(calling(quick), thread_id, tools=[quick])
        async for event in events:
            if isinstance(event, at):
                break
        if closes:
            await events.aclose()
        del events
        gc.collect()  # as the interpreter does when the last reference goes
        async with asyncio.timeout(WAIT_SECONDS):
            while open_calls(await lab.items(thread_id)):
                await asyncio.sleep(0.05)
            assert await ask(client, Way.JSON, "and now?", thread_id) == "You said: and now?"


async def test_a_turn_that_may_not_send_any_more_leaves_its_open_calls_alone(
    lab: Laboratory,
) -> None:
    """As one whose thread another process has taken over, which answers them itself."""
    service = await lab.shared(Where.THREAD, WAIT_SECONDS)
    backing = await service.create_thread({})
    thread_id, is_lost = str(backing.conversation_id), False

    async def before_send() -> None:
        if is_lost:
            raise LeaseLostError

    started = asyncio.Event()

    async def signalling() -> str:
        """Run until stopped."""
        started.set()
        return await stop_me()

    turn = TurnRequest(calling(signalling), tools=(signalling,))
    sending = asyncio.create_task(service.respond(turn, backing, before_send=before_send))
    async with asyncio.timeout(WAIT_SECONDS):
        await started.wait()
    is_lost = True
    sending.cancel()
    with pytest.raises(LeaseLostError):
        await sending
    assert open_calls(await lab.items(thread_id))


async def ask_when_free(
    client: FoundryAgentServiceClient, way: Way, text: str, thread_id: str
) -> str:
    """Ask as soon as Foundry has let go of the conversation, which the caller left busy."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await ask(client, way, text, thread_id)
            except ThreadBusyError:
                await asyncio.sleep(0.1)


@WAYS
async def test_outputs_on_their_way_when_the_caller_leaves_stand_there_once(
    lab: Laboratory, way: Way
) -> None:
    async with client_on_a_thread(lab) as (client, thread_id):
        await strike(lab, thread_id, "slow", times=2, seconds=0.5)
        sending = asyncio.create_task(send(client, way, calling(quick), thread_id, quick))
        async with asyncio.timeout(WAIT_SECONDS):
            while not outputs(await lab.items(thread_id)):
                await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await ask_when_free(client, way, "and now?", thread_id) == "You said: and now?"
        assert outputs(await lab.items(thread_id)) == ["done"]


@WAYS
@pytest.mark.parametrize("where", [Where.THREAD, Where.CHAIN])
async def test_equal_messages_at_once_are_as_many_messages(
    lab: Laboratory, way: Way, where: Where
) -> None:
    text = new_name("same")
    async with client_on_a_thread(lab, where) as (client, thread_id):
        asked = [ask(client, way, text, thread_id) for _ in range(3)]
        assert await asyncio.gather(*asked) == [f"You said: {text}"] * 3
        told = await ask(client, Way.JSON, "/history", thread_id)
    assert told.count(f'"{text}"') == 3


async def test_turns_run_in_the_order_of_the_calls_and_a_cancelled_one_never(
    lab: Laboratory,
) -> None:
    texts = [new_name("turn") for _ in range(6)]
    async with client_on_a_thread(lab) as (client, thread_id):
        tasks = [asyncio.create_task(ask(client, Way.JSON, t, thread_id)) for t in texts]
        await asyncio.sleep(0)  # all have asked for the thread
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        items = await lab.items(thread_id)
    users = [item["content"][0]["text"] for item in items if item.get("role") == "user"]
    assert users == [*texts[:2], *texts[3:]]


@WAYS
async def test_a_thread_that_stays_in_use_is_busy(lab: Laboratory, way: Way) -> None:
    async with client_on_a_thread(lab, timeout=1) as (client, thread_id):
        holding = client.stream_message("/words 3", thread_id)
        await anext(holding)  # and then it is not read on
        response = await client.send_message("hi", thread_id)
        assert (response.success, response.error_code) == (False, "thread_busy")
        assert response.error
        assert "aclosing" in response.error
        await holding.aclose()
        assert await ask(client, way, "hi", thread_id) == "You said: hi"


async def test_many_who_take_up_one_thread_at_once_take_turns(lab: Laboratory) -> None:
    async with client_on_a_thread(lab) as (_, thread_id), fresh(lab, Where.THREAD) as client:
        asked = [ask(client, Way.JSON, "same", thread_id) for _ in range(3)]
        assert await asyncio.gather(*asked) == ["You said: same"] * 3
        assert said(await lab.items(thread_id), "same") == 3


@WAYS
async def test_two_clients_do_not_take_each_others_answers(lab: Laboratory, way: Way) -> None:
    """One's message is dropped before it arrives, while the other says the same."""
    text = new_name("both")
    async with client_on_a_thread(lab) as (one, thread_id), fresh(lab, Where.THREAD) as two:
        await ask(one, way, "first", thread_id)
        await ask(two, way, "second", thread_id)
        await ask(one, way, text, thread_id)
        await strike(lab, thread_id, "drop")
        assert await ask(two, way, text, thread_id) == f"You said: {text}"
        assert said(await lab.items(thread_id), text) == 2


@WAYS
@pytest.mark.parametrize("kind", ["work_then_drop", "user_item_then_drop"])
async def test_a_lost_answer_is_taken_by_its_own_sender_only(
    lab: Laboratory, way: Way, kind: str
) -> None:
    text = new_name("lost")
    async with client_on_a_thread(lab) as (client, thread_id):
        await strike(lab, thread_id, kind)
        asked = [ask(client, way, text, thread_id) for _ in range(3)]
        assert await asyncio.gather(*asked) == [f"You said: {text}"] * 3
        items = await lab.items(thread_id)
    assert said(items, text) == 3
    assert sum(answered([item], text) for item in items) == 3


async def test_a_message_that_failed_is_recognised_when_it_is_sent_again(lab: Laboratory) -> None:
    text = new_name("again")
    async with client_on_a_thread(lab, max_retries=0, timeout=1) as (client, thread_id):
        await strike(lab, thread_id, "hang", seconds=2)
        response = await client.send_message(text, thread_id)
        assert response.error_code == "timeout"
        async with asyncio.timeout(WAIT_SECONDS):
            while not answered(await lab.items(thread_id), text):
                await asyncio.sleep(0.1)
        assert await ask(client, Way.JSON, text, thread_id) == f"You said: {text}"
        assert said(await lab.items(thread_id), text) == 1
        assert await ask(client, Way.JSON, text, thread_id) == f"You said: {text}"
        assert said(await lab.items(thread_id), text) == 2


@WAYS
async def test_functions_are_tools_of_one_message(lab: Laboratory, way: Way) -> None:
    async def weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"sunny in {city}"

    def add(first: int, second: int) -> int:
        """Add two numbers."""
        return first + second

    told = "weather answered: sunny in Delft\nadd answered: 3"
    text = '/call weather {"city": "Delft"}\n/call add {"first": 1, "second": 2}'
    tools: list[Any] = [weather, add, "data_analysis", {"type": "web_search"}]
    async with client_on_a_thread(lab) as (client, thread_id):
        if way is Way.JSON:
            response = await client.send_message(text, thread_id, tools=tools)
            assert (response.error, response.content) == (None, told)
            assert response.tools_used == ["weather", "add"]
        else:
            events = client.stream_message(text, thread_id, tools=tools)
            assert [e.result.content async for e in events if isinstance(e, TurnCompleted)] == [
                told
            ]
        plain = await client.send_message('/call add {"first": 1, "second": 2}', thread_id)
        assert plain.content.startswith("You said: /call add")


@WAYS
async def test_functions_are_tools_of_an_orchestrated_message(
    lab: Laboratory, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab.config(Where.THREAD)
    monkeypatch.setenv("FOUNDRY_AGENT_SERVICE_ENDPOINT", config.endpoint_url)
    asked = (ModelType.FOUNDRY_AGENT_SERVICE, "general", calling(quick), new_name("tools"))
    async with ModelOrchestrator(identity=lab.identity) as orchestrator:
        if way is Way.JSON:
            result = await orchestrator.process_model_request(*asked, tools=[quick])
        else:
            events = orchestrator.stream_model_request(*asked, tools=[quick])
            last = [event async for event in events][-1]
            assert isinstance(last, AnsweredTurn)
            answer = last.result
            result = {"reply": answer.content, "tools_used": list(answer.tools_used)}
        assert (result["reply"], result["tools_used"]) == ("quick answered: done", ["quick"])
        sending = orchestrator.process_model_request(
            *asked[:2], calling(stop_me), asked[3], tools=[stop_me]
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await sending
        plain = await orchestrator.process_model_request(*asked[:2], "and now?", asked[3])
        assert plain["reply"] == "You said: and now?"
