"""`Prefer: respond-async` through the running app, its queue and its workers."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.support.asking import ended, say
from tests.support.served import EmulatorControl

ASYNC = {"Prefer": "respond-async"}
WAITING = {"Prefer": 'handling=lenient, Respond-Async;x=y, wait="25"'}

PATHS = ("messages", "threads/{thread_id}/messages", "orchestrate")


def body_of(path: str, text: str, conversation_id: str = "") -> dict[str, Any]:
    """The body that sends a text to a path."""
    if path == "orchestrate":
        return {"user_input": text, "conversation_id": conversation_id or uuid.uuid4().hex}
    return {"message": text}


@pytest.mark.parametrize("path", PATHS)
async def test_a_send_becomes_a_job(caller: httpx.AsyncClient, thread_id: str, path: str) -> None:
    address = path.format(thread_id=thread_id)
    body = {**body_of(path, "Hello"), "metadata": {"ticket": "9"}, "max_tokens": 99}
    answer = await caller.post(address, json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['job_id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    looked_up = await caller.get(httpx.URL(str(caller.base_url)).join(answer.headers["location"]))
    assert looked_up.json()["job_id"] == job["job_id"]
    done = await ended(caller, job["job_id"])
    assert (done["status"], done["metadata"]) == ("succeeded", {"ticket": "9"})
    assert done["result"]["content"] == "You said: Hello"
    assert (done["thread_id"] is None) == (path == "messages")


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_in_time_is_the_answer_of_the_send(
    caller: httpx.AsyncClient, thread_id: str, path: str
) -> None:
    address, body = path.format(thread_id=thread_id), body_of(path, "Hello", thread_id)
    at_once = (await caller.post(address, json=body)).json()
    waited = await caller.post(address, json=body, headers=WAITING)
    assert waited.status_code == 200, waited.text
    assert waited.headers["preference-applied"] == "respond-async, wait=25"
    document = waited.json()
    assert list(document) == list(at_once)
    differing = {name for name in at_once if document[name] != at_once[name]}
    assert differing <= {"turn_id", "metadata", "usage", "execution_time", "timestamp"}


async def test_a_conversation_and_a_thread_are_continued(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    await say(caller, thread_id, "My name is Ada.")
    path = f"threads/{thread_id}/messages"
    asked = await caller.post(path, json={"message": "What is my name?"}, headers=WAITING)
    assert asked.json()["content"] == "Your name is Ada."
    conversation = uuid.uuid4().hex
    first = body_of("orchestrate", "My name is Bo.", conversation)
    job = (await caller.post("orchestrate", json=first, headers=ASYNC)).json()
    await ended(caller, job["job_id"])
    second = body_of("orchestrate", "What is my name?", conversation)
    answer = (await caller.post("orchestrate", json=second)).json()
    assert (answer["reply"], answer["thread_id"]) == ("Your name is Bo.", job["thread_id"])


async def test_a_response_format_goes_along(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    schema = {"type": "object", "properties": {"town": {"type": "string"}}}
    body = {"message": "Where?", "response_format": schema, "temperature": 0.3}
    at_once = await caller.post("messages", json=body)
    waited = await caller.post("messages", json=body, headers=WAITING)
    assert (waited.status_code, at_once.status_code) == (200, 200), waited.text
    assert waited.json()["parsed"] == at_once.json()["parsed"] is not None
    first, second = (await emulator.asked_for("Where?"))[-2:]
    assert first["body"] == second["body"]


async def test_images_go_along(caller: httpx.AsyncClient) -> None:
    body = {"message": "What is this?", "images": ["https://x.example/a.png"]}
    refusals = [
        (await caller.post("messages", json=body, headers=headers)).json()
        for headers in ({}, WAITING)
    ]
    assert "Image input is not supported" in refusals[0]["detail"]
    assert refusals[0]["detail"] == refusals[1]["detail"]


async def test_a_failure_in_time_is_a_problem(caller: httpx.AsyncClient) -> None:
    body = {"message": "[[content_filter]]"}
    answer = await caller.post("messages", json=body, headers=WAITING)
    assert (answer.status_code, answer.json()["code"]) == (422, "content_filter")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_slow_answer_stays_a_job(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    await emulator.inject("hang", seconds=3.0)
    headers = {"Prefer": "respond-async, wait=1", "Accept": "text/event-stream"}
    answer = await caller.post("messages", json={"message": "Hello"}, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status"] in {"queued", "running"}
    done = await ended(caller, answer.json()["job_id"])
    assert done["status"] == "succeeded"


async def test_a_key_is_one_job_in_every_form(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"message": f"Once {uuid.uuid4().hex}"}
    first = await caller.post("messages", json=body, headers={**headers, **ASYNC})
    again = await caller.post("messages", json=body, headers={**headers, **ASYNC})
    waited = await caller.post("messages", json=body, headers={**headers, **WAITING})
    at_once = await caller.post("messages", json=body, headers=headers)
    assert (first.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == waited.headers["idempotency-replayed"] == "true"
    assert (waited.status_code, waited.json()["content"]) == (200, f"You said: {body['message']}")
    assert (at_once.status_code, at_once.json()["code"]) == (422, "idempotency_mismatch")
    sent = [r for r in await emulator.requests("responses.create") if body["message"] in str(r)]
    assert len(sent) == 1
