"""`Idempotency-Key` through the whole app: one effect, one answer, also through kills and races."""

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from local.services import FunctionsHost
from tests.support.served import Deployment, EmulatorControl
from tests.support.waiting import eventually

CALLERS = int(os.environ.get("IDEMPOTENCY_CALLERS", "100"))
KEYS = CALLERS // 20
THREADS = max(KEYS // 5, 2)
MESSAGES = sorted(f"message {number}" for number in range(KEYS))
LOOK_SECONDS = 0.2
LEASE_SECONDS = 4
"""Of a lease and a claim: how long callers wait for what a dead process held."""
EVENTS = {"Accept": "text/event-stream"}


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def events(text: str) -> list[tuple[str, Any]]:
    frames = [frame for frame in text.split("\n\n") if frame.startswith("event: ")]
    pairs = [frame.removeprefix("event: ").split("\ndata: ", 1) for frame in frames]
    return [(name, json.loads(data)) for name, data in pairs]


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


class Race:
    """Callers who all want one of a few things done, and do not stop asking until it is.

    With aiohttp, because httpx is slow with a thousand connections.
    """

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        """Where to send the message of each key."""

    async def run(self, api: str, most_pause: float) -> dict[int, set[bytes]]:
        """The answers that the callers of each key got."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(api, connector=connector) as caller:
            asked = [number % len(self._urls) for number in range(CALLERS)]
            given = await asyncio.gather(*(self._ask(caller, k, most_pause) for k in asked))
        answers: dict[int, set[bytes]] = {}
        for number, answer in zip(asked, given, strict=True):
            answers.setdefault(number, set()).add(answer)
        return answers

    async def _ask(self, caller: aiohttp.ClientSession, number: int, most_pause: float) -> bytes:
        url, body, which = self._urls[number], {"message": f"message {number}"}, f"race-{number}"
        while True:
            try:
                async with caller.post(url, json=body, headers=key(which)) as answer:
                    if answer.status == 200:
                        return await answer.read()
                    problem = await answer.json(content_type=None)
                    assert problem["code"] in {"idempotency_in_progress", "thread_busy"}, problem
                    assert int(answer.headers["retry-after"]) > 0
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):  # it is dead
                await asyncio.sleep(1)
            await asyncio.sleep(random.uniform(0.05, most_pause))  # noqa: S311


async def test_many_callers_on_few_keys_make_one_turn_for_each(
    caller: httpx.AsyncClient, app: FunctionsHost, deployment: Deployment
) -> None:
    answers = await Race(["messages"] * KEYS).run(f"{app.url}/api/", most_pause=0.3)
    assert [len(each) for each in answers.values()] == [1] * KEYS
    turns = await deployment.rows(kind="turn:-:")
    assert sorted(row["question"] for row in turns if row["question"] in MESSAGES) == MESSAGES


@pytest.mark.timeout(600)
async def test_a_process_killed_between_effect_and_record_leaves_one_of_each(
    deployment: Deployment, emulator: EmulatorControl, tmp_path: Path
) -> None:
    """Foundry has answered on every thread, but its answers are lost; the callers retry."""
    own = Deployment(deployment.storage, deployment.foundry)
    with own.serve(tmp_path, LEASE_SECONDS=str(LEASE_SECONDS)) as host:
        api = f"{host.url}/api/"
        async with httpx.AsyncClient(base_url=api, timeout=90) as caller:
            made = [(await caller.post("threads")).json()["thread_id"] for _ in range(THREADS)]
        urls = [f"threads/{made[number % THREADS]}/messages" for number in range(KEYS)]
        before = len(await emulator.requests("responses.create"))
        await emulator.inject("hang", seconds=60, when="after", times=None)
        racing = asyncio.create_task(Race(urls).run(api, most_pause=4))

        async def has_asked() -> bool:
            await asyncio.sleep(LOOK_SECONDS)
            return len(await emulator.requests("responses.create")) >= before + THREADS

        await eventually(has_asked, 60)
        host.kill()
        await emulator.clear_faults()
        host.restart()
        answers = await racing
    assert [len(each) for each in answers.values()] == [1] * KEYS
    turns = await own.rows(kind="turn:")
    assert sorted(row["question"] for row in turns) == MESSAGES
    said: list[str] = []
    for thread in await own.rows(kind="thread:"):
        items = await emulator.items(thread["conversation_id"])
        said += [i["content"][0]["text"] for i in items if i.get("role") == "user"]
    assert sorted(said) == MESSAGES
    print(  # noqa: T201 - a figure
        f"keys: {CALLERS} callers on {KEYS} keys and {THREADS} threads, killed: {len(said)} turns"
    )
