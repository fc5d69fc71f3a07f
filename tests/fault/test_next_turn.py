"""The turn after one that ended badly, by a process that knows only where the thread stood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.foundry.models import ThreadRef, TurnRequest
from shared.foundry.tools import tool
from shared.foundry.tools.unanswered import ABANDONED_CALL
from tests.support.laboratory import JsonObject, Laboratory, Where, new_name, said, text_of

from .turning import ANSWER, Way, take_turn

LIMIT_SECONDS = 2.0
"""Half of it goes into waiting for an answer that does not come."""

WAYS = pytest.mark.parametrize("way", list(Way))


@tool
async def order_status(order_id: int) -> str:
    """Tell where an order is."""
    return f"order {order_id} is shipped"


def message(text: str) -> JsonObject:
    return {"type": "message", "role": "user", "content": text}


def call(call_id: str) -> JsonObject:
    arguments = '{"order_id": 7}'
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": "order_status",
        "arguments": arguments,
    }


def output(call_id: str) -> JsonObject:
    return {"type": "function_call_output", "call_id": call_id, "output": "shipped"}


async def left_behind(lab: Laboratory, *items: JsonObject) -> ThreadRef:
    """A thread with one whole turn, and then what a lost call left there."""
    service = await lab.shared(Where.THREAD, LIMIT_SECONDS)
    thread = await service.create_thread({})
    first = await service.respond(TurnRequest("first"), thread)
    assert thread.conversation_id
    if items:
        await lab.append(thread.conversation_id, *items)
    return replace(thread, last_item_id=first.last_item_id, look_first=True)


async def ask(lab: Laboratory, way: Way, text: str, thread: ThreadRef) -> tuple[ThreadRef, str]:
    """Take a turn that must be answered; where the thread stands then, and the answer."""
    service = await lab.shared(Where.THREAD, LIMIT_SECONDS)
    got = await take_turn(service, way, TurnRequest(text), thread)
    assert got.outcome == ANSWER, got.error
    assert got.result
    if way is Way.STREAM:
        assert got.streamed == got.result.content
    thread = replace(thread, last_item_id=got.result.last_item_id, look_first=False)
    return thread, got.result.content


async def texts(lab: Laboratory, thread: ThreadRef) -> list[str]:
    """The messages of a thread after its first turn, in order."""
    assert thread.conversation_id
    items = await lab.items(thread.conversation_id)
    return [text_of(item) for item in items if item["type"] == "message"][2:]


@WAYS
async def test_where_nothing_was_left_the_message_is_sent(lab: Laboratory, way: Way) -> None:
    thread, answer = await ask(lab, way, "hi", await left_behind(lab))
    assert answer == "You said: hi"
    assert await texts(lab, thread) == ["hi", "You said: hi"]


@WAYS
async def test_a_message_that_nobody_answered_stays_and_the_thread_goes_on(
    lab: Laboratory, way: Way
) -> None:
    thread = await left_behind(lab, message("lost"))
    thread, answer = await ask(lab, way, "hi", thread)
    assert answer == "You said: hi"
    await ask(lab, way, "bye", thread)
    assert await texts(lab, thread) == ["lost", "hi", "You said: hi", "bye", "You said: bye"]


@WAYS
async def test_the_same_message_is_answered_without_being_sent_again(
    lab: Laboratory, way: Way
) -> None:
    thread = await left_behind(lab, message("hi"))
    thread, answer = await ask(lab, way, "hi", thread)
    assert answer == "You said: hi"
    assert await texts(lab, thread) == ["hi", "You said: hi"]


@WAYS
async def test_an_answer_that_came_after_all_is_taken(lab: Laboratory, way: Way) -> None:
    thread = await left_behind(lab)
    service = await lab.shared(Where.THREAD, LIMIT_SECONDS)
    text = new_name("adopt")
    whole = await service.respond(TurnRequest(text), replace(thread, look_first=False))
    marked = TurnRequest(text, metadata={"cell": text})
    got = await take_turn(service, way, marked, thread)
    assert got.result
    assert got.result.response_id == whole.response_id
    assert got.result.usage == whole.usage
    assert await lab.requests("responses.create", {"cell": text}) == []
    assert await texts(lab, thread) == [text, f"You said: {text}"]


@WAYS
async def test_our_message_is_found_behind_an_older_one_and_its_late_answer(
    lab: Laboratory, way: Way
) -> None:
    late: JsonObject = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "late", "annotations": []}],
    }
    thread = await left_behind(lab, message("older"), late, message("hi"))
    thread, answer = await ask(lab, way, "hi", thread)
    assert answer == "You said: hi"
    assert await texts(lab, thread) == ["older", "late", "hi", "You said: hi"]


@WAYS
async def test_calls_that_nobody_answered_do_not_block_the_thread(
    lab: Laboratory, way: Way
) -> None:
    thread = await left_behind(lab, message("call"), call("call_a"), call("call_b"))
    thread, answer = await ask(lab, way, "hi", thread)
    assert answer == "You said: hi"
    assert thread.conversation_id
    items = await lab.items(thread.conversation_id)
    outputs = {i["call_id"]: i["output"] for i in items if i["type"] == "function_call_output"}
    assert outputs == {"call_a": ABANDONED_CALL, "call_b": ABANDONED_CALL}
    await ask(lab, way, "bye", thread)


@WAYS
async def test_an_approval_that_nobody_gave_is_denied(lab: Laboratory, way: Way) -> None:
    asked = {"server_label": "docs", "name": "search", "arguments": "{}"}
    request = {"type": "mcp_approval_request", "id": new_name("mcpr"), **asked}
    thread = await left_behind(lab, message("search"), request)
    thread, answer = await ask(lab, way, "hi", thread)
    assert answer == "You said: hi"
    assert thread.conversation_id
    items = await lab.items(thread.conversation_id)
    (denied,) = [item for item in items if item["type"] == "mcp_approval_response"]
    assert (denied["approval_request_id"], denied["approve"]) == (request["id"], False)


@WAYS
async def test_what_a_tool_returned_is_answered_and_not_returned_again(
    lab: Laboratory, way: Way
) -> None:
    thread = await left_behind(lab, message("status?"), call("call_c"), output("call_c"))
    thread, answer = await ask(lab, way, "status?", thread)
    assert answer == "order_status answered: shipped"
    assert thread.conversation_id
    items = await lab.items(thread.conversation_id)
    assert said(items, "status?") == 1
    assert [item["type"] for item in items].count("function_call_output") == 1


@WAYS
async def test_a_call_that_was_left_is_run_when_the_same_message_comes_again(
    lab: Laboratory, way: Way
) -> None:
    thread = await left_behind(lab, message("status?"), call("call_d"))
    async with lab.service(Where.THREAD, tools=[order_status], timeout=LIMIT_SECONDS) as service:
        turn = TurnRequest("status?", tools=("order_status",))
        got = await take_turn(service, way, turn, thread)
    assert got.text == "order_status answered: order 7 is shipped"
    assert thread.conversation_id
    assert said(await lab.items(thread.conversation_id), "status?") == 1


async def test_a_lost_look_back_leaves_the_thread_as_it_was(lab: Laboratory) -> None:
    thread = await left_behind(lab, message("hi"))
    assert thread.conversation_id
    at = {"conversation_id": thread.conversation_id}
    fault = {"operation": "items.list", "kind": "status", "status": 503, "times": None, "match": at}
    (await lab.http.post("/_emulator/faults", json=fault)).raise_for_status()
    service = await lab.shared(Where.THREAD, LIMIT_SECONDS)
    got = await take_turn(service, Way.JSON, TurnRequest("hi"), thread)
    assert got.outcome == "service_unavailable"
    await lab.http.delete("/_emulator/faults")
    assert await texts(lab, thread) == ["hi"]
    _, answer = await ask(lab, Way.JSON, "hi", thread)
    assert answer == "You said: hi"
