"""`/jobs`, from 202 to the result."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.state.keys import Kind, new_id
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem


async def submit(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['job_id']}"
    return answer.json()


async def run(services: Services, job: dict[str, Any]) -> None:
    await services.workers.runner.drain(WakeUp("key", job["thread_id"] or job["job_id"]))


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
    app.foundry.then_fail(400, {"code": "content_filter"})
    await run(services, job)
    failed = (await api.get(f"jobs/{job['job_id']}")).json()
    assert failed["status"] == "failed"
    assert failed["problem"]["code"] == "content_filter"
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


async def test_jobs_are_listed_newest_first_with_a_cursor(api: httpx.AsyncClient) -> None:
    made = await submit_at_intervals(api, 5)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("jobs", params={"limit": 2, **cursor})).json()
        seen += [job["job_id"] for job in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


async def submit_at_intervals(api: httpx.AsyncClient, count: int) -> list[str]:
    """Jobs whose ids are in order; ids are only so by the millisecond."""
    made: list[str] = []
    for _ in range(count):
        made.append((await submit(api, message="Hi"))["job_id"])
        await asyncio.sleep(0.002)
    return made


async def test_a_listed_job_is_as_it_is_shown(services: Services, api: httpx.AsyncClient) -> None:
    job = await submit(api, messages=["one", "two"], metadata={"k": "v"})
    await run(services, job)
    (listed,) = (await api.get("jobs")).json()["data"]
    assert listed == (await api.get(f"jobs/{job['job_id']}")).json()


async def test_jobs_are_listed_by_status(services: Services, api: httpx.AsyncClient) -> None:
    done, queued = await submit(api, message="Hi"), await submit(api, message="Hi")
    await run(services, done)
    for status, expected in (("succeeded", [done]), ("queued", [queued]), ("failed", [])):
        page = (await api.get("jobs", params={"status": status})).json()
        assert [job["job_id"] for job in page["data"]] == [job["job_id"] for job in expected]


async def test_somebody_elses_jobs_are_none_of_mine(
    services: Services, api: httpx.AsyncClient
) -> None:
    theirs = await services.core.submission.submit("somebody", SubmitJob(message="Hi"))
    assert (await api.get("jobs")).json() == {"data": [], "next_cursor": None}
    for answer in (
        await api.get(f"jobs/{theirs.job_id}"),
        await api.post(f"jobs/{theirs.job_id}/cancel"),
    ):
        assert_problem(answer, 404, "not_found")
    assert not (await services.core.jobs.get("somebody", theirs.job_id)).cancel_requested


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"cursor": "job_x"}, "cursor"),
        ({"cursor": new_id(Kind.THREAD)}, "cursor"),
        ({"status": "done"}, "status"),
        ({"status": ""}, "status"),
        ({"status": "QUEUED"}, "status"),
    ],
)
async def test_a_wrong_query_names_the_field(
    api: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    document = assert_problem(await api.get("jobs", params=query), 422, "invalid_request")
    assert document["errors"][0]["field"] == field


async def test_a_waiting_job_that_is_cancelled_never_runs(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, message="Hi")
    answer = await api.post(f"jobs/{job['job_id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["cancel_requested"] is True
    await run(services, job)
    cancelled = (await api.get(f"jobs/{job['job_id']}")).json()
    assert (cancelled["status"], cancelled["problem"]["code"]) == ("cancelled", "cancelled")
    assert app.foundry.calls == []
    again = await api.post(f"jobs/{job['job_id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (202, "cancelled")


async def test_a_job_that_has_ended_cannot_be_cancelled(
    services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, message="Hi")
    await run(services, job)
    answer = await api.post(f"jobs/{job['job_id']}/cancel")
    assert "succeeded" in assert_problem(answer, 409, "job_ended")["detail"]
    assert (await api.get(f"jobs/{job['job_id']}")).json()["cancel_requested"] is False


@pytest.mark.parametrize("job_id", [new_id(Kind.JOB), new_id(Kind.THREAD), "x"])
async def test_an_unknown_job_cannot_be_cancelled(api: httpx.AsyncClient, job_id: str) -> None:
    assert_problem(await api.post(f"jobs/{job_id}/cancel"), 404, "not_found")


async def test_who_waits_gets_the_end_as_soon_as_it_is_there(
    services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, message="Hi")
    waiting = asyncio.create_task(api.get(f"jobs/{job['job_id']}", params={"wait": "30"}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await run(services, job)
    answer = await asyncio.wait_for(waiting, 5)
    assert answer.json()["status"] == "succeeded"


async def test_who_waits_in_vain_gets_what_there_is(api: httpx.AsyncClient) -> None:
    job = await submit(api, message="Hi")
    answer = await api.get(f"jobs/{job['job_id']}", params={"wait": "1"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


async def test_nobody_waits_for_a_job_that_has_ended(
    services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, message="Hi")
    await run(services, job)
    async with asyncio.timeout(5):
        answer = await api.get(f"jobs/{job['job_id']}", params={"wait": "200"})
    assert answer.json()["status"] == "succeeded"


@pytest.mark.parametrize("wait", ["-1", "201", "1.5", "x", ""])
async def test_a_wrong_wait_is_refused(api: httpx.AsyncClient, wait: str) -> None:
    job = await submit(api, message="Hi")
    answer = await api.get(f"jobs/{job['job_id']}", params={"wait": wait})
    assert assert_problem(answer, 422, "invalid_request")["errors"][0]["field"] == "wait"


async def test_a_job_is_accepted_even_if_no_worker_can_be_woken(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    app.queues.available = False
    job = await submit(api, message="Hi")
    app.queues.available = True
    assert await services.timers.sweeper.sweep() == 1
    await run(services, job)
    assert (await api.get(f"jobs/{job['job_id']}")).json()["status"] == "succeeded"


@pytest.mark.parametrize(
    "body",
    [
        {"not_before": "2026-03-01T12:00:00"},
        {"not_before": 5},
        {"expires_in": 0},
        {"expires_in": 30 * 86_400 + 1},
        {"max_attempts": 0},
        {"max_attempts": 21},
        {"stop_lane_on_failure": "yes"},
        {"images": ["http://x.example/i.png"]},
    ],
)
async def test_a_wrong_plan_is_refused_at_once(
    app: App, api: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await api.post("jobs", json={"message": "Hi", **body})
    assert answer.status_code in {400, 422}
    assert app.table.writes == 0


async def test_a_plan_is_shown(app: App, api: httpx.AsyncClient) -> None:
    not_before = "2026-03-02T00:00:00+02:00"
    job = await submit(api, message="Hi", not_before=not_before, expires_in=60)
    assert datetime.fromisoformat(job["not_before"]) == datetime.fromisoformat(not_before)
    assert datetime.fromisoformat(job["expires_at"]) == app.clock() + timedelta(seconds=60)
    assert (job["attempts"], job["cancel_requested"]) == (0, False)
    assert (await api.get(f"jobs/{job['job_id']}")).json() == job


ASKED: dict[str, Any] = {
    "messages": ["one", "two"],
    "system_prompt": "Be brief.",
    "max_attempts": 2,
}


async def request_of(api: httpx.AsyncClient, job: dict[str, Any]) -> Any:
    answer = await api.get(f"jobs/{job['job_id']}", params={"request": "true"})
    assert answer.status_code == 200, answer.text
    return answer.json()["request"]


async def test_a_job_shows_what_it_was_asked_before_and_after_its_end(
    services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, **ASKED)
    asked = {**ASKED, "new_thread": True}
    assert await request_of(api, job) == asked
    await run(services, job)
    assert await request_of(api, job) == asked
    assert "request" not in (await api.get(f"jobs/{job['job_id']}")).json()
    again = await submit(api, **asked)
    assert again["thread_id"] != job["thread_id"]
    on_thread = await submit(api, message="three", thread_id=job["thread_id"])
    await run(services, on_thread)
    assert await request_of(api, on_thread) == {
        "messages": ["three"],
        "thread_id": job["thread_id"],
    }


async def test_a_failed_and_a_cancelled_job_show_what_they_were_asked(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    failing, cancelled = await submit(api, message="one"), await submit(api, message="two")
    app.foundry.then_fail(400, {"code": "content_filter"})
    await run(services, failing)
    await api.post(f"jobs/{cancelled['job_id']}/cancel")
    assert await request_of(api, failing) == {"messages": ["one"]}
    assert await request_of(api, cancelled) == {"messages": ["two"]}
    await run(services, cancelled)
    assert await request_of(api, cancelled) == {"messages": ["two"]}


async def test_what_a_message_sent_later_was_asked_is_a_job_but_not_of_another_address(
    services: Services, api: httpx.AsyncClient
) -> None:
    later = {"Prefer": "respond-async"}
    message = (await api.post("messages", json={"message": "Hi"}, headers=later)).json()
    body = {"user_input": "Hi", "conversation_id": "mine"}
    orchestrated = (await api.post("orchestrate", json=body, headers=later)).json()
    assert await request_of(api, message) == {"messages": ["Hi"]}
    assert await request_of(api, orchestrated) is None
    await run(services, orchestrated)
    assert await request_of(api, orchestrated) is None


async def test_jobs_are_counted_by_status(services: Services, api: httpx.AsyncClient) -> None:
    done = await submit(api, message="one")
    await run(services, done)
    await submit(api, message="two")
    page = (await api.get("jobs", params={"counts": "true", "limit": 1})).json()
    assert len(page["data"]) == 1
    others = dict.fromkeys(("running", "failed", "cancelled", "expired"), 0)
    assert page["counts"] == {"queued": 1, "succeeded": 1, **others}
    assert "counts" not in (await api.get("jobs")).json()


async def test_jobs_are_listed_by_thread_and_status(
    services: Services, api: httpx.AsyncClient
) -> None:
    first = await submit(api, message="one", new_thread=True)
    second = await submit(api, message="two", thread_id=first["thread_id"])
    await submit(api, message="three")
    of_thread = {"thread_id": first["thread_id"]}

    async def listed(**query: str) -> list[str]:
        page = (await api.get("jobs", params={**of_thread, **query})).json()
        return [job["job_id"] for job in page["data"]]

    assert await listed() == [second["job_id"], first["job_id"]]
    assert await listed(status="running") == []
    await run(services, first)
    assert await listed(status="succeeded") == [second["job_id"], first["job_id"]]
    for text in ("x' or 'a' eq 'a", "?", "é" * 99):
        assert await listed(thread_id=text) == []


def asked_rows(app: App) -> int:
    return len(app.table.rows("key", "asked:"))


async def test_what_a_job_was_asked_is_deleted_with_its_thread(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    job = await submit(api, messages=["one", "two"])
    await run(services, job)
    assert asked_rows(app) == 1
    assert (await api.delete(f"threads/{job['thread_id']}")).status_code == 204
    assert asked_rows(app) == 0


async def test_what_a_job_was_asked_is_erased_with_its_owner(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    await run(services, await submit(api, message="one"))
    assert asked_rows(app) == 1
    assert (await api.delete("me/data")).status_code in {200, 202}
    assert asked_rows(app) == 0
