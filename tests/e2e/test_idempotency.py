"""`Idempotency-Key` through the whole app: one effect, one answer, also through kills and races."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.integration.waiting import eventually

from .served import Deployment, EmulatorControl

EVENTS = {"Accept": "text/event-stream"}


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def events(text: str) -> list[tuple[str, Any]]:
    frames = [frame for frame in text.split("\n\n") if frame.startswith("event: ")]
    pairs = [frame.removeprefix("event: ").split("\ndata: ", 1) for frame in frames]
    return [(name, json.loads(data)) for name, data in pairs]


async def user_messages(deployment: Deployment, emulator: EmulatorControl) -> list[str]:
    """What the user said on the one thread there is, as Foundry has it."""
    (thread,) = await deployment.rows(kind="thread:")
    items = await emulator.items(thread["conversation_id"])
    return [i["content"][0]["text"] for i in items if i.get("role") == "user"]


async def test_a_repeated_turn_is_answered_byte_for_byte(
    caller: httpx.AsyncClient, deployment: Deployment, thread_id: str
) -> None:
    url, body = f"threads/{thread_id}/messages", {"message": "My name is Ada. äöü 🙂"}
    first = await caller.post(url, json=body, headers=key("turn-1"))
    again = await caller.post(url, json=body, headers=key("turn-1"))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    other = await caller.post(url, json={"message": "No."}, headers=key("turn-1"))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(await deployment.rows(kind=f"turn:{thread_id}:")) == 1


async def test_a_repeated_stream_tells_the_turn_again(
    caller: httpx.AsyncClient, deployment: Deployment, thread_id: str
) -> None:
    url, body = f"threads/{thread_id}/messages", {"message": "Hello"}
    first = await caller.post(url, json=body, headers=key("stream-1") | EVENTS)
    told = events(first.text)
    again = await caller.post(url, json=body, headers=key("stream-1") | EVENTS)
    assert events(again.text) == [told[0], told[-1]]
    assert [name for name, _ in events(again.text)] == ["turn.started", "turn.completed"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await deployment.rows(kind=f"turn:{thread_id}:")) == 1


async def test_threads_jobs_and_cancels_happen_once(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    for url, body in (("threads", {"metadata": {"k": "v"}}), ("jobs", {"message": "Hi"})):
        first = await caller.post(url, json=body, headers=key(f"once-{url}"))
        again = await caller.post(url, json=body, headers=key(f"once-{url}"))
        assert again.status_code == first.status_code
        assert again.content == first.content
        assert again.headers["location"] == first.headers["location"]
    later = {"message": "Hi", "not_before": "2999-01-01T00:00:00Z"}
    job_id = (await caller.post("jobs", json=later)).json()["job_id"]
    cancels = [await caller.post(f"jobs/{job_id}/cancel", headers=key("c")) for _ in range(2)]
    assert cancels[0].content == cancels[1].content
    assert cancels[0].json()["cancel_requested"] is True


async def test_200_callers_on_10_keys_make_10_turns(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    async def call(number: int) -> tuple[int, bytes]:
        body = {"message": f"message {number}"}
        while True:
            answer = await caller.post("messages", json=body, headers=key(f"race-{number}"))
            if answer.status_code == 200:
                return number, answer.content
            assert answer.json()["code"] == "idempotency_in_progress", answer.text
            assert int(answer.headers["retry-after"]) > 0
            await asyncio.sleep(0.05 + number / 100)

    answers = await asyncio.gather(*(call(number % 10) for number in range(200)))
    assert len(set(answers)) == 10
    turns = await deployment.rows(kind="turn:-:")
    assert sorted(row["question"] for row in turns if row["question"] != "Hi") == [
        f"message {number}" for number in range(10)
    ]


async def test_a_request_whose_process_was_killed_is_done_once_by_its_repetition(
    deployment: Deployment, emulator: EmulatorControl, tmp_path: Path
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    with own.serve(tmp_path) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=90) as caller:
            thread_id = (await caller.post("threads")).json()["thread_id"]
            url, body = f"threads/{thread_id}/messages", {"message": "My name is Ada."}
            before = len(await emulator.requests("responses.create"))
            await emulator.inject("hang", seconds=60)
            cut_off = asyncio.create_task(caller.post(url, json=body, headers=key("killed")))

            async def has_asked() -> bool:
                return len(await emulator.requests("responses.create")) > before

            await eventually(has_asked)
            host.kill()
            await asyncio.wait([cut_off])
            assert cut_off.exception() is not None
            host.restart()
            await emulator.clear_faults()

            async def answer() -> httpx.Response | None:
                response = await caller.post(url, json=body, headers=key("killed"))
                if response.status_code == 409:
                    assert response.headers["retry-after"]
                    await asyncio.sleep(1)
                    return None
                return response

            done = await eventually(answer, 90)
            replay = await caller.post(url, json=body, headers=key("killed"))
    assert done.status_code == 200, done.text
    assert replay.content == done.content
    assert await user_messages(own, emulator) == ["My name is Ada."]
