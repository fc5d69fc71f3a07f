"""`/jobs`, from 202 to the result."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from shared.jobs.queue import WakeUp
from shared.services import Services
from shared.state.keys import Kind, new_id

from ..conftest import App
from .calling import assert_problem


async def submit(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['job_id']}"
    return answer.json()


async def run(services: Services, job: dict[str, Any]) -> None:
    await services.runner.drain(WakeUp("key", job["thread_id"] or job["job_id"]))


async def test_a_job_goes_from_queued_to_its_result(
    services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, message="Hi", metadata={"k": "v"})
    assert job["status"] == "queued"
    assert job["progress"] == {"done": 0, "total": 1}
    assert (job["result"], job["results"], job["problem"]) == (None, [], None)
    await run(services, job)
    done = (await api.get(f"jobs/{job['job_id']}")).json()
    assert done["status"] == "succeeded"
    assert done["progress"] == {"done": 1, "total": 1}
    assert done["result"]["content"] == "You said: Hi"
    assert done["results"] == [done["result"]]
    assert done["started_at"]
    assert done["finished_at"]
    assert done["metadata"] == {"k": "v"}


async def test_a_failed_job_carries_its_problem(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, messages=["one", "two"])
    app.foundry.then_fail(500)
    await run(services, job)
    failed = (await api.get(f"jobs/{job['job_id']}")).json()
    assert failed["status"] == "failed"
    assert failed["problem"]["code"] == "service_unavailable"
    assert failed["result"] is None
    assert failed["thread_id"] == job["thread_id"]


async def test_a_job_can_go_on_where_messages_ended(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    await api.post(f"threads/{thread_id}/messages", json={"message": "one"})
    await run(services, await submit(api, message="two", thread_id=thread_id))
    assert app.foundry.sent[1]["previous_response_id"]


@pytest.mark.parametrize("job_id", [new_id(Kind.JOB), new_id(Kind.THREAD), "x"])
async def test_an_unknown_job_is_404(api: httpx.AsyncClient, job_id: str) -> None:
    assert_problem(await api.get(f"jobs/{job_id}"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "Hi", "messages": ["Hi"]},
        {"message": "Hi", "thread_id": new_id(Kind.THREAD), "new_thread": True},
        {"messages": []},
        {"messages": ["Hi"] * 51},
        {"message": "Hi", "owner": "somebody"},
        {"message": "Hi", "job_id": new_id(Kind.JOB)},
    ],
)
async def test_a_wrong_job_is_refused_and_nothing_is_stored(
    app: App, api: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert_problem(await api.post("jobs", json=body), 422, "invalid_request")
    assert app.table.writes == 0
    assert app.queues.wake_ups == []


async def test_work_too_large_to_keep_is_413(api: httpx.AsyncClient) -> None:
    assert_problem(await api.post("jobs", json={"message": "x" * 800_000}), 413, "too_large")
