"""Answers as they come into being, through the host, to a caller who may go away."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.asking import say
from tests.support.served import Deployment, EmulatorControl
from tests.support.waiting import eventually

STREAM = {"accept": "text/event-stream"}
TERMINAL = {"turn.completed", "error"}

Event = tuple[str, dict[str, Any]]


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    """The events of a stream, each as soon as it has arrived."""
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def all_events(caller: httpx.AsyncClient, path: str, message: str) -> list[Event]:
    """A whole stream, which must end with its one terminal event."""
    async with caller.stream("POST", path, json={"message": message}, headers=STREAM) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-request-id"]
        found = [event async for event in events(answer)]
    assert [name for name, _ in found if name in TERMINAL] == [found[-1][0]]
    return found


def text_of(found: list[Event]) -> str:
    return "".join(data["text"] for name, data in found if name == "message.delta")


async def said_by_users(
    deployment: Deployment, emulator: EmulatorControl, thread: str
) -> list[str]:
    """What users said in the conversation behind a thread."""
    threads = await deployment.rows(kind="thread:")
    turns = await deployment.rows(kind=f"turn:{thread}:")
    assert turns
    (conversation,) = {
        row["conversation_id"]
        for row in threads
        if row.get("last_turn_id") == f"turn_{turns[-1]['RowKey'].rpartition(':')[2]}"
    }
    items = await emulator.items(conversation)
    return [item["content"][0]["text"] for item in items if item.get("role") == "user"]


async def test_the_first_text_arrives_before_the_answer_is_complete(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("slow", seconds=0.05)
    body = {"message": "/words 40"}
    path = f"threads/{thread_id}/messages"
    async with caller.stream("POST", path, json=body, headers=STREAM) as answer:
        incoming = events(answer)
        assert (await anext(incoming))[0] == "turn.started"
        name, first = await anext(incoming)
        assert name == "message.delta"
        assert await deployment.rows(kind=f"turn:{thread_id}:") == []
        rest = [event async for event in incoming]
    name, turn = rest[-1]
    assert name == "turn.completed"
    assert first["text"] + text_of(rest) == turn["content"]
    (row,) = await deployment.rows(kind=f"turn:{thread_id}:")
    assert (row["mode"], row["status"], row["answer"]) == ("stream", "succeeded", turn["content"])


async def test_a_streamed_turn_is_the_same_turn(caller: httpx.AsyncClient, thread_id: str) -> None:
    path = f"threads/{thread_id}/messages"
    await all_events(caller, path, "My name is Ada.")
    found = await all_events(caller, path, "What is my name?")
    assert text_of(found) == found[-1][1]["content"] == "Your name is Ada."
    plain = await say(caller, thread_id, "What is my name?")
    assert set(plain) == set(found[-1][1])
    assert (await caller.get(path.removesuffix("/messages"))).json()["message_count"] == 3


async def test_a_stream_cut_upstream_is_completed_from_what_foundry_kept(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    path = f"threads/{thread_id}/messages"
    await emulator.inject("cut_stream", after_events=6)
    found = await all_events(caller, path, "one two three four five six seven")
    name, end = found[-1]
    assert name == "turn.completed", end
    assert text_of(found) == end["content"]
    assert (await say(caller, thread_id, "Still there?"))["success"]
    said = await said_by_users(deployment, emulator, thread_id)
    assert said == ["one two three four five six seven", "Still there?"]


@pytest.mark.parametrize("kind", ["failed", "no_terminal", "malformed_event"])
async def test_a_broken_stream_never_ends_as_completed_with_less_than_its_text(
    caller: httpx.AsyncClient, emulator: EmulatorControl, kind: str
) -> None:
    await emulator.inject(kind, at=4, times=1)
    found = await all_events(caller, "messages", "one two three")
    name, end = found[-1]
    assert name == "error" or text_of(found) == end["content"] == "You said: one two three"


async def test_who_goes_away_leaves_a_whole_thread(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("slow", seconds=0.05)
    path = f"threads/{thread_id}/messages"
    body = {"message": "My name is Bo."}
    async with caller.stream("POST", path, json=body, headers=STREAM) as answer:
        async for name, _ in events(answer):
            if name == "message.delta":
                break

    async def recorded() -> list[dict[str, Any]]:
        return await deployment.rows(kind=f"turn:{thread_id}:")

    (turn,) = await eventually(recorded)
    assert (turn["status"], turn["answer"]) == ("succeeded", "You said: My name is Bo.")
    assert (await say(caller, thread_id, "What is my name?"))["content"] == "Your name is Bo."


async def test_many_streams_at_once_do_not_mix(caller: httpx.AsyncClient) -> None:
    texts = [f"stream number {number}" for number in range(20)]
    streams = await asyncio.gather(*(all_events(caller, "messages", text) for text in texts))
    assert [text_of(found) for found in streams] == [f"You said: {text}" for text in texts]


@pytest.mark.parametrize("kind", ["drop", "work_then_drop", "user_item_then_drop"])
@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
async def test_a_lost_answer_is_found_and_nothing_is_said_twice(
    caller: httpx.AsyncClient,
    deployment: Deployment,
    emulator: EmulatorControl,
    thread_id: str,
    kind: str,
    *,
    streamed: bool,
) -> None:
    await say(caller, thread_id, "My name is Cy.")
    await emulator.inject(kind, after=0.3)
    if streamed:
        found = await all_events(caller, f"threads/{thread_id}/messages", "What is my name?")
        content = text_of(found)
    else:
        content = (await say(caller, thread_id, "What is my name?"))["content"]
    assert content == "Your name is Cy."
    said = await said_by_users(deployment, emulator, thread_id)
    assert said == ["My name is Cy.", "What is my name?"]
