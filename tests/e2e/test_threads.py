"""Threads: made, found, changed, talked on, read back and deleted."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.state.lanes import LEASE_SECONDS
from tests.support.asking import ended, say, submit
from tests.support.served import Deployment, EmulatorControl
from tests.support.waiting import eventually


async def test_a_thread_is_made_here_and_in_foundry(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl
) -> None:
    answer = await caller.post("threads", json={"metadata": {"customer": "42"}})
    thread = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/threads/{thread['thread_id']}"
    assert (thread["message_count"], thread["metadata"]) == (0, {"customer": "42"})
    assert (await caller.get(f"threads/{thread['thread_id']}")).json() == thread
    asked = (await emulator.requests("conversations.create"))[-1]
    assert asked["body"]["metadata"] == {"customer": "42"}
    row = await thread_row(deployment, thread["thread_id"])
    assert row["conversation_id"].startswith("conv_")


async def test_the_second_message_is_answered_with_the_first_in_mind(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    first = await say(caller, thread_id, "My name is Ada.")
    second = await say(caller, thread_id, "What is my name?")
    assert (first["thread_id"], second["thread_id"]) == (thread_id, thread_id)
    assert second["content"] == "Your name is Ada."
    thread = (await caller.get(f"threads/{thread_id}")).json()
    assert thread["message_count"] == 2
    spent = first["usage"]["total_tokens"] + second["usage"]["total_tokens"]
    assert thread["total_tokens"] == spent
    assert thread["last_accessed"] > thread["created_at"]


async def test_turns_of_a_thread_are_rows_in_order(
    caller: httpx.AsyncClient, deployment: Deployment, thread_id: str
) -> None:
    for text in ("one", "two", "three"):
        await say(caller, thread_id, text)
    turns = await deployment.rows(kind=f"turn:{thread_id}:")
    assert [turn["question"] for turn in turns] == ["one", "two", "three"]
    assert {turn["status"] for turn in turns} == {"succeeded"}


async def test_history_is_read_from_foundry_newest_first_page_by_page(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    for text in ("one", "two", "three"):
        await say(caller, thread_id, text)
    read: list[tuple[str, str]] = []
    query: dict[str, Any] = {"limit": 4}
    while True:
        page = (await caller.get(f"threads/{thread_id}/messages", params=query)).json()
        read += [(message["role"], message["content"]) for message in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    said = [("user", text) for text in ("one", "two", "three")]
    answered = [("assistant", f"You said: {text}") for text in ("one", "two", "three")]
    both = [message for pair in zip(said, answered, strict=True) for message in pair]
    assert read == both[::-1]


async def test_threads_are_listed_newest_first_with_cursor_and_metadata_filter(
    caller: httpx.AsyncClient,
) -> None:
    made: list[str] = []
    for number in range(5):
        metadata = {"list test": "it's mine", "parity": "even" if number % 2 == 0 else "odd"}
        answer = await caller.post("threads", json={"metadata": metadata})
        made.append(answer.json()["thread_id"])
    newest_first = made[::-1]

    query: dict[str, Any] = {"limit": 2, "metadata.list test": "it's mine"}
    pages: list[list[str]] = []
    while True:
        page = (await caller.get("threads", params=query)).json()
        pages.append([thread["thread_id"] for thread in page["data"]])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]

    query = {"metadata.parity": "odd", "metadata.list test": "it's mine"}
    odd = (await caller.get("threads", params=query)).json()["data"]
    assert [thread["thread_id"] for thread in odd] == [made[3], made[1]]


async def test_a_thread_half_deleted_does_not_end_the_list(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    made: list[str] = []
    for _ in range(4):
        answer = await caller.post("threads", json={"metadata": {"half": "deleted"}})
        made.append(answer.json()["thread_id"])
    await emulator.inject("status", "conversations.delete", status=500, times=4)
    assert (await caller.delete(f"threads/{made[3]}")).status_code == 503
    assert await all_threads(caller, half="deleted") == made[2::-1]


async def all_threads(caller: httpx.AsyncClient, **metadata: str) -> list[str]:
    """The ids of all threads with this metadata, read two at a time."""
    query: dict[str, Any] = {f"metadata.{key}": text for key, text in metadata.items()}
    query["limit"] = 2
    found: list[str] = []
    while True:
        page = (await caller.get("threads", params=query)).json()
        found += [thread["thread_id"] for thread in page["data"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_metadata_is_merged_and_null_removes(caller: httpx.AsyncClient) -> None:
    made = await caller.post("threads", json={"metadata": {"keep": "1", "drop": "1", "edit": "1"}})
    thread_id = made.json()["thread_id"]
    patch = {"metadata": {"drop": None, "edit": "2", "new": "3"}}
    patched = await caller.patch(f"threads/{thread_id}", json=patch)
    assert patched.status_code == 200
    assert patched.json()["metadata"] == {"keep": "1", "edit": "2", "new": "3"}
    assert (await caller.get(f"threads/{thread_id}")).json() == patched.json()
    gone = (await caller.get("threads", params={"metadata.drop": "1"})).json()["data"]
    assert thread_id not in [thread["thread_id"] for thread in gone]


async def test_a_thread_cannot_collect_more_metadata_than_allowed(
    caller: httpx.AsyncClient,
) -> None:
    full = {f"k{number}": "v" for number in range(16)}
    thread_id = (await caller.post("threads", json={"metadata": full})).json()["thread_id"]
    refused = await caller.patch(f"threads/{thread_id}", json={"metadata": {"one more": "v"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "metadata_full")
    assert (await caller.get(f"threads/{thread_id}")).json()["metadata"] == full


async def test_a_deleted_thread_is_gone_here_and_in_foundry(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    await say(caller, thread_id, "Remember me.")
    conversation = (await thread_row(deployment, thread_id))["conversation_id"]
    deleted = await caller.delete(f"threads/{thread_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await caller.get(f"threads/{thread_id}")).status_code == 404
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 404
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await emulator.items(conversation)


async def test_a_thread_that_foundry_has_lost_still_deletes(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.lose_conversation((await thread_row(deployment, thread_id))["conversation_id"])
    lost = await caller.post(f"threads/{thread_id}/messages", json={"message": "Still there?"})
    assert (lost.status_code, lost.json()["code"]) == (502, "not_found")
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 204
    assert (await caller.get(f"threads/{thread_id}")).status_code == 404


async def test_a_thread_that_foundry_would_not_delete_can_be_deleted_later(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("status", "conversations.delete", status=500, times=4)
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 503
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 204


async def test_one_turn_at_a_time_runs_on_a_thread(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("hang", seconds=1.0)
    url, body = f"threads/{thread_id}/messages", {"message": "me first"}
    answers = await asyncio.gather(*(caller.post(url, json=body) for _ in range(3)))
    by_status = sorted(answers, key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in by_status] == [200, 409, 409]
    for busy in by_status[1:]:
        assert busy.json()["code"] == "thread_busy"
        assert int(busy.headers["retry-after"]) >= 1
    assert (await caller.get(f"threads/{thread_id}")).json()["message_count"] == 1


async def test_a_busy_thread_says_truly_for_how_long(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    """By a job that waits for a far day, which lets messages pass, and by one that runs."""
    waits = await submit(caller, message="Hi", thread_id=thread_id, not_before="8000-01-01T00:00Z")
    assert (await say(caller, thread_id, "Hello"))["content"] == "You said: Hello"
    assert (await caller.post(f"jobs/{waits}/cancel")).json()["status"] == "cancelled"
    before = len(await emulator.requests("responses.create"))
    await emulator.inject("hang", seconds=5.0)
    runs = await submit(caller, message="Hi", thread_id=thread_id)

    async def is_sent() -> bool:
        return len(await emulator.requests("responses.create")) > before

    await eventually(is_sent)
    url = f"threads/{thread_id}"
    sent = await caller.post(f"{url}/messages", json={"message": "Hello"})
    for busy in (sent, await caller.delete(url)):
        assert (busy.status_code, busy.json()["code"]) == (409, "thread_busy")
        seconds = int(busy.headers["retry-after"])
        assert LEASE_SECONDS / 2 < seconds <= LEASE_SECONDS
        assert f"Its lease lasts for another {seconds} s and is renewed" in busy.json()["detail"]
    assert (await ended(caller, runs))["status"] == "succeeded"
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 204


async def test_a_caller_who_leaves_does_not_undo_the_turn(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("hang", seconds=1.0)
    url, body = f"threads/{thread_id}/messages", {"message": "My name is Ada."}
    with pytest.raises(httpx.ReadTimeout):
        await caller.post(url, json=body, timeout=0.3)

    async def is_committed() -> bool:
        return (await caller.get(f"threads/{thread_id}")).json()["message_count"] == 1

    await eventually(is_committed)
    assert (await say(caller, thread_id, "What is my name?"))["content"] == "Your name is Ada."


async def thread_row(deployment: Deployment, thread_id: str) -> Any:
    """The row of the newest thread, which must be the one named."""
    row = (await deployment.rows(kind="thread:"))[0]
    prefix = f"turn:{thread_id}:"
    turns = [row["RowKey"] for row in await deployment.rows(kind="turn:thread_")]
    assert row["message_count"].value == sum(key.startswith(prefix) for key in turns)
    return row
