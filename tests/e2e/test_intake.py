"""Jobs put on the public queue by any producer, good ones and bad ones."""

import base64
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue.aio import QueueClient
from ulid import ULID

from tests.support.served import REJECTED_PARTITION, Deployment
from tests.support.waiting import eventually

OWNER = "tenant-1:principal-1"
GARBAGE = random.Random(7).randbytes(45_000)  # noqa: S311 - 60 KB as base64
WITHOUT_RETRIES_SECONDS = 20
"""Shorter than one visibility timeout: nothing can have been tried twice within."""


@pytest.fixture
async def intake(
    app: object,
    deployment: Deployment,
) -> AsyncIterator[QueueClient]:
    """The intake as producers use it, empty, as is its poison queue."""
    for name in (deployment.intake, f"{deployment.intake}-poison"):
        async with deployment.queue(name) as queue:
            try:
                await queue.create_queue()
            except ResourceExistsError:
                await queue.clear_messages()
    async with deployment.queue(deployment.intake) as queue:
        yield queue


async def ended_jobs(deployment: Deployment, owner: str, count: int = 1) -> list[Any]:
    """Wait until ``count`` jobs of an owner have ended, and return their rows, newest first."""

    async def found() -> list[Any]:
        jobs = await deployment.rows(owner, kind="job:")
        ended = [job for job in jobs if job["status"] in {"succeeded", "failed"}]
        return ended if len(ended) == count else []

    return await eventually(found, 30)


async def rejected_at_once(deployment: Deployment, count: int = 1) -> list[Any]:
    """Wait until so many messages are on record as rejected, and gone from the poison queue."""

    async def found() -> list[Any]:
        notes = await deployment.rows(REJECTED_PARTITION)
        return notes if len(notes) >= count else []

    async def is_taken() -> bool:
        return await deployment.depth(f"{deployment.intake}-poison") == 0

    notes = await eventually(found, WITHOUT_RETRIES_SECONDS)
    await eventually(is_taken, WITHOUT_RETRIES_SECONDS)
    return notes


async def test_a_message_becomes_a_job_of_its_owner(
    intake: QueueClient, deployment: Deployment, caller: httpx.AsyncClient
) -> None:
    body = {"owner": OWNER, "messages": ["My name is Ada.", "What is my name?"]}
    await intake.send_message(json.dumps(body))
    (job,) = await ended_jobs(deployment, OWNER)
    assert (job["status"], job["messages_done"].value) == ("succeeded", 2)
    assert json.loads(job["result_1_0"])["content"] == "Your name is Ada."
    turns = await deployment.rows(OWNER, kind="turn:")
    assert [turn["question"] for turn in turns] == body["messages"]
    listed = (await caller.get("threads", params={"limit": 100})).json()["data"]
    assert job["thread_id"] not in [thread["thread_id"] for thread in listed]


async def test_a_message_put_twice_with_its_job_id_runs_once(
    intake: QueueClient, deployment: Deployment
) -> None:
    owner = "tenant-1:twice"
    body = {
        "owner": owner,
        "message": "Once only",
        "new_thread": True,
        "job_id": f"job_{ULID()}",
    }
    for _ in range(2):
        await intake.send_message(json.dumps(body))
    marker = {"owner": owner, "message": "After both", "job_id": f"job_{ULID()}"}
    await intake.send_message(json.dumps(marker))
    jobs = await ended_jobs(deployment, owner, count=2)
    turns = await deployment.rows(owner, kind="turn:")
    assert len(jobs) == 2
    assert len(await deployment.rows(owner, kind="thread:")) == 1
    assert sorted(turn["question"] for turn in turns) == ["After both", "Once only"]


REJECTED = {
    "not JSON": b"hello",
    "a list": b"[1, 2, 3]",
    "no owner": b'{"message": "hi"}',
    "owner of the wrong type": b'{"owner": 5, "message": "hi"}',
    "message of the wrong type": b'{"owner": "t:p", "message": {"text": "hi"}}',
    "nothing to say": b'{"owner": "t:p"}',
    "unknown field": b'{"owner": "t:p", "message": "hi", "mesage": "hi"}',
    "unknown thread": b'{"owner": "t:p", "message": "hi", "thread_id": "thread_none"}',
    "malformed job id": b'{"owner": "t:p", "message": "hi", "job_id": "job_1"}',
    "owner too long for a key": json.dumps({"owner": "\u00fc" * 256, "message": "hi"}).encode(),
    "not UTF-8": b'{"owner": "t:p", "message": "\xff\xfe"}',
    "nothing": b"",
    "60 KB of garbage": GARBAGE,
}


@pytest.mark.parametrize("body", REJECTED.values(), ids=REJECTED.keys())
async def test_what_cannot_be_a_job_goes_to_poison_at_once_with_a_note(
    intake: QueueClient, deployment: Deployment, body: bytes
) -> None:
    before = {note["RowKey"] for note in await deployment.rows(REJECTED_PARTITION)}
    async with deployment.queue(deployment.intake, base64=False) as raw:
        await raw.send_message(base64.b64encode(body).decode())
    notes = await rejected_at_once(deployment, len(before) + 1)
    (note,) = [each for each in notes if each["RowKey"] not in before]
    assert (note["queue"], note["body"], bool(note["reason"])) == (deployment.intake, body, True)
    assert await deployment.rows("t:p") == []
    await still_alive(intake, deployment)


async def test_what_is_not_base64_goes_to_poison_at_once(
    intake: QueueClient, deployment: Deployment
) -> None:
    text = '{"owner": "t:p", "message": "not encoded"}'
    async with deployment.queue(deployment.intake, base64=False) as raw:
        await raw.send_message(text)

    async def is_on_poison() -> bool:
        return await deployment.depth(f"{deployment.intake}-poison") == 1

    await eventually(is_on_poison, WITHOUT_RETRIES_SECONDS)
    await still_alive(intake, deployment)


async def test_a_rejected_message_that_names_its_job_lets_it_fail(
    intake: QueueClient, deployment: Deployment
) -> None:
    owner, job_id = f"tenant-1:{ULID()}", f"job_{ULID()}"
    await intake.send_message(json.dumps({"owner": owner, "job_id": job_id, "message": 5}))
    (job,) = await ended_jobs(deployment, owner)
    assert job["status"] == "failed"
    problem = json.loads(job["problem"])
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert problem["detail"].startswith("message: ")


async def still_alive(intake: QueueClient, deployment: Deployment) -> None:
    """The next good message is run."""
    owner = f"tenant-1:{ULID()}"
    await intake.send_message(json.dumps({"owner": owner, "message": "Alive?"}))
    (job,) = await ended_jobs(deployment, owner)
    assert job["status"] == "succeeded"
