"""`Prefer: respond-async` on every address that sends a message."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from shared.api import jobs, threads
from shared.app import Services
from shared.config import AppSettings, StorageSettings
from shared.jobs.queue import WakeUp
from shared.routes import ROUTES
from shared.state.keys import Kind, new_id
from tests.support.app_on_fakes import App, at_resource
from tests.support.calling import assert_problem, caller
from tests.support.scripted_foundry import message_item, response_body
from tests.support.waiting import eventually

ASYNC = {"Prefer": "respond-async"}
WAITING = {"Prefer": "respond-async, wait=20"}
SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}


@pytest.fixture
async def sends(api: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The addresses that send a message, each with a body."""
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    return {
        "messages": {"message": "Hi"},
        f"threads/{thread_id}/messages": {"message": "Hi"},
        "orchestrate": {"user_input": "Hi", "conversation_id": "mine"},
    }


async def run_waiting(app: App, services: Services) -> None:
    """Run the job of the next wake-up, as a worker does."""

    async def woken() -> bool:
        return bool(app.queues.wake_ups)

    await eventually(woken)
    woken_up = app.queues.wake_ups.pop()
    await services.workers.runner.drain(WakeUp(woken_up.owner, woken_up.lane))


def test_addresses_of_created_objects_are_those_of_routes() -> None:
    templates = {f"/{route.template}" for route in ROUTES}
    assert {jobs.ADDRESS, threads.ADDRESS} <= templates


async def test_every_send_becomes_a_job(
    app: App, services: Services, api: httpx.AsyncClient, sends: dict[str, dict[str, Any]]
) -> None:
    for path, body in sends.items():
        answer = await api.post(path, json={**body, "metadata": {"ticket": "9"}}, headers=ASYNC)
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["location"] == f"/api/jobs/{job['job_id']}"
        assert answer.headers["preference-applied"] == "respond-async"
        assert (job["status"], job["metadata"]) == ("queued", {"ticket": "9"})
        await run_waiting(app, services)
        done = (await api.get(f"jobs/{job['job_id']}")).json()
        assert done["status"] == "succeeded", done["problem"]
        assert done["result"]["content"] == "You said: Hi"


async def test_an_answer_in_time_has_the_form_of_the_send(
    app: App, services: Services, api: httpx.AsyncClient, sends: dict[str, dict[str, Any]]
) -> None:
    passing = ("turn_id", "metadata", "execution_time", "timestamp")
    for path, body in sends.items():
        at_once = (await api.post(path, json=body)).json()
        async with asyncio.TaskGroup() as group:
            waited = group.create_task(api.post(path, json=body, headers=WAITING))
            group.create_task(run_waiting(app, services))
        answer = waited.result()
        assert answer.status_code == 200, answer.text
        assert answer.headers["preference-applied"] == "respond-async, wait=20"
        assert "location" not in answer.headers
        document = answer.json()
        assert list(document) == list(at_once)
        assert document["metadata" if "metadata" in document else "timestamp"]
        for name in at_once.keys() - set(passing):
            assert document[name] == at_once[name], name


async def test_a_structured_answer_is_parsed(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    body = {"message": "Where?", "response_format": SCHEMA}
    answer = message_item('```json\n{"town": "Delft"}\n```')
    app.foundry.then(httpx.Response(200, json=response_body(output=[answer])))
    async with asyncio.TaskGroup() as group:
        waited = group.create_task(api.post("messages", json=body, headers=WAITING))
        group.create_task(run_waiting(app, services))
    assert waited.result().json()["parsed"] == {"town": "Delft"}


async def test_a_failure_in_time_is_the_problem_of_the_send(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    app.foundry.then_fail(400, {"code": "content_filter"})
    async with asyncio.TaskGroup() as group:
        waited = group.create_task(api.post("messages", json={"message": "Hi"}, headers=WAITING))
        group.create_task(run_waiting(app, services))
    answer = waited.result()
    assert_problem(answer, 422, "content_filter")
    assert answer.headers["preference-applied"] == "respond-async, wait=20"


async def test_a_job_that_does_not_end_in_time_is_answered_as_it_is(
    api: httpx.AsyncClient,
) -> None:
    headers = {"Prefer": "respond-async, wait=1", "Accept": "text/event-stream"}
    answer = await api.post("messages", json={"message": "Hi"}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"].endswith(answer.json()["job_id"])
    assert answer.headers["preference-applied"] == "respond-async, wait=1"


async def test_a_conversation_is_continued_on_its_thread(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    body = {"user_input": "Hi", "conversation_id": "mine"}
    job = (await api.post("orchestrate", json=body, headers=ASYNC)).json()
    await run_waiting(app, services)
    at_once = (await api.post("orchestrate", json=body)).json()
    again = (await api.post("orchestrate", json=body, headers=ASYNC)).json()
    assert job["thread_id"] == at_once["thread_id"] == again["thread_id"] is not None
    thread = (await api.get(f"threads/{job['thread_id']}")).json()
    assert thread["message_count"] == 2


async def test_one_key_is_one_job_and_not_also_a_turn(
    app: App, services: Services, api: httpx.AsyncClient, sends: dict[str, dict[str, Any]]
) -> None:
    for number, (path, body) in enumerate(sends.items()):
        key = {"Idempotency-Key": f"key-{number}"}
        first = await api.post(path, json=body, headers={**ASYNC, **key})
        again = await api.post(path, json=body, headers={**ASYNC, **key})
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["idempotency-replayed"] == "true"
        await run_waiting(app, services)
        waited = await api.post(path, json=body, headers={**WAITING, **key})
        assert waited.status_code == 200
        assert waited.headers["idempotency-replayed"] == "true"
        assert_problem(await api.post(path, json=body, headers=key), 422, "idempotency_mismatch")
        listed = (await api.get("jobs")).json()["data"]
        assert len(listed) == number + 1


async def test_invalid_sends_are_refused_before_there_is_a_job(
    app: App, api: httpx.AsyncClient, sends: dict[str, dict[str, Any]]
) -> None:
    for path, body in sends.items():
        wrong = {**body, "model": "none of these"}
        assert_problem(await api.post(path, json=wrong, headers=ASYNC), 422, "invalid_request")
        wrong = {
            **body,
            "response_format": {"type": "object", "properties": {"a": {"$ref": "#/b"}}},
        }
        answer = await api.post(path, json=wrong, headers=ASYNC)
        assert_problem(answer, 422, "invalid_response_format")
        assert "preference-applied" not in answer.headers
    for thread_id in (new_id(Kind.THREAD), new_id(Kind.JOB), "x" * 300):
        path = f"threads/{thread_id}/messages"
        assert_problem(
            await api.post(path, json={"message": "Hi"}, headers=ASYNC), 404, "not_found"
        )
    assert (await api.get("jobs")).json()["data"] == []


async def test_a_refused_response_format_is_audited(api: httpx.AsyncClient) -> None:
    body = {"message": "Hi", "response_format": {"type": "object", "$ref": "#/b"}}
    await api.post("messages", json=body, headers=ASYNC)

    async def recorded() -> bool:
        records = (await api.get("audit", params={"outcome": "refused"})).json()["data"]
        return [each["code"] for each in records] == ["invalid_response_format"]

    await eventually(recorded)


async def test_other_preferences_and_addresses_are_as_without(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    for prefer in ("wait=5", "return=minimal", "respond-async=no"):
        answer = await api.post("messages", json={"message": "Hi"}, headers={"Prefer": prefer})
        assert (answer.status_code, answer.json()["content"]) == (200, "You said: Hi")
        assert "preference-applied" not in answer.headers
    assert (await api.post("threads", json={}, headers=ASYNC)).status_code == 201


async def test_texts_that_are_not_recorded_are_not_in_the_waited_answer() -> None:
    app = App(
        settings=AppSettings(foundry=at_resource(), storage=StorageSettings(record_content=False))
    )
    services = app.services()
    async with caller(services) as api, asyncio.TaskGroup() as group:
        waited = group.create_task(api.post("messages", json={"message": "Hi"}, headers=WAITING))
        await run_waiting(app, services)
        document = (await waited).json()
    assert (document["content"], document["content_recorded"]) == (None, False)
    assert document["usage"]
    await app.aclose()
