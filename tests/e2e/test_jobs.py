"""Jobs over HTTP: 202 with a place to look, then an end."""

import asyncio
from datetime import datetime, timedelta

import httpx

from shared.state.keys import newest_first
from tests.support.asking import ended, say, submit
from tests.support.served import Deployment, EmulatorControl, JsonObject
from tests.support.waiting import eventually


async def test_a_job_goes_from_202_to_succeeded(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    accepted = await caller.post("jobs", json={"message": "Hello", "metadata": {"ticket": "9"}})
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["location"] == f"/api/jobs/{job['job_id']}"
    assert (job["status"], job["progress"]) == ("queued", {"done": 0, "total": 1})
    assert (job["result"], job["problem"], job["thread_id"]) == (None, None, None)

    done = await ended(caller, job["job_id"])
    assert (done["status"], done["progress"]) == ("succeeded", {"done": 1, "total": 1})
    assert done["result"]["content"] == "You said: Hello"
    assert done["results"] == [done["result"]]
    assert done["metadata"] == {"ticket": "9"}
    created, started, finished = (
        datetime.fromisoformat(done[name]) for name in ("created_at", "started_at", "finished_at")
    )
    # a process learns the storage service's time, to the second, with its first answer
    assert created - timedelta(seconds=1) <= started <= finished

    (row,) = [r for r in await deployment.rows(kind="job:") if _is_of(r, job["job_id"])]
    assert row["status"] == "succeeded"
    (turn,) = [r for r in await deployment.rows(kind="turn:") if r.get("job_id") == job["job_id"]]
    assert (turn["mode"], turn["answer"]) == ("job", "You said: Hello")
    assert f"turn_{turn['RowKey'].rpartition(':')[2]}" == done["result"]["turn_id"]
    boxes = await deployment.rows(kind="box:")
    assert [box for box in boxes if box["job_id"] == job["job_id"]] == []


def _is_of(row: JsonObject, job_id: str) -> bool:
    return str(row["RowKey"]) == newest_first(job_id)


async def test_a_batch_runs_in_order_on_a_thread_of_its_own(caller: httpx.AsyncClient) -> None:
    messages = ["My name is Ada.", "Remember it.", "What is my name?", "/history"]
    job_id = await submit(caller, messages=messages)
    done = await ended(caller, job_id)
    assert (done["status"], done["progress"]) == ("succeeded", {"done": 4, "total": 4})
    assert [result["content"] for result in done["results"]][:3] == [
        "You said: My name is Ada.",
        "You said: Remember it.",
        "Your name is Ada.",
    ]
    thread = (await caller.get(f"threads/{done['thread_id']}")).json()
    assert thread["message_count"] == 4
    assert (await say(caller, done["thread_id"], "What is my name?"))["content"] == (
        "Your name is Ada."
    )


async def test_a_job_can_start_a_thread(caller: httpx.AsyncClient) -> None:
    accepted = await caller.post("jobs", json={"message": "My name is Bo.", "new_thread": True})
    thread_id = accepted.json()["thread_id"]
    assert (await ended(caller, accepted.json()["job_id"]))["status"] == "succeeded"
    assert (await say(caller, thread_id, "What is my name?"))["content"] == "Your name is Bo."


async def test_a_job_goes_on_with_an_existing_thread(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    await say(caller, thread_id, "My name is Cy.")
    done = await ended(
        caller, await submit(caller, message="What is my name?", thread_id=thread_id)
    )
    assert (done["thread_id"], done["result"]["content"]) == (thread_id, "Your name is Cy.")


async def test_a_failed_job_tells_its_problem_and_the_lane_goes_on(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    bodies = (
        {"message": "My name is Di."},
        {"messages": ["[[content_filter]]", "never sent"]},
        {"message": "What is my name?"},
    )
    jobs = [await submit(caller, thread_id=thread_id, **body) for body in bodies]
    first, filtered, last = [await ended(caller, job_id) for job_id in jobs]
    assert (first["status"], last["status"]) == ("succeeded", "succeeded")
    assert last["result"]["content"] == "Your name is Di."
    assert (filtered["status"], filtered["result"]) == ("failed", None)
    assert filtered["progress"] == {"done": 0, "total": 2}
    problem = filtered["problem"]
    assert (problem["status"], problem["code"]) == (422, "content_filter")
    assert {"type", "title", "detail", "request_id"} <= problem.keys()


async def test_jobs_of_a_thread_run_in_the_order_they_came(
    caller: httpx.AsyncClient, deployment: Deployment, thread_id: str
) -> None:
    texts = [f"number {number}" for number in range(6)]
    jobs = [await submit(caller, message=text, thread_id=thread_id) for text in texts]
    for job_id in jobs:
        assert (await ended(caller, job_id))["status"] == "succeeded"
    turns = await deployment.rows(kind=f"turn:{thread_id}:")
    assert [turn["question"] for turn in turns] == texts


async def test_a_job_waits_for_the_turn_that_holds_its_thread(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("hang", seconds=1.0)
    url = f"threads/{thread_id}/messages"
    request = caller.build_request("POST", url, json={"message": "My name is Eve."})
    async with asyncio.TaskGroup() as group:
        turn = group.create_task(caller.send(request))
        await eventually(lambda: emulator.requests("responses.create"))
        job_id = await submit(caller, message="What is my name?", thread_id=thread_id)
    assert turn.result().status_code == 200
    assert (await ended(caller, job_id))["result"]["content"] == "Your name is Eve."


async def test_a_job_on_an_unknown_thread_is_refused(caller: httpx.AsyncClient) -> None:
    unknown = "thread_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    answer = await caller.post("jobs", json={"message": "Hi", "thread_id": unknown})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_unknown_job_is_404(caller: httpx.AsyncClient) -> None:
    for job_id in ("job_01HZZZZZZZZZZZZZZZZZZZZZZZ", "nonsense"):
        answer = await caller.get(f"jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_job_is_listed_waited_for_and_cancelled(caller: httpx.AsyncClient) -> None:
    job_id = await submit(caller, message="Hello")
    done = (await caller.get(f"jobs/{job_id}", params={"wait": "25"})).json()
    assert done["status"] == "succeeded"
    refused = await caller.post(f"jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_ended")
    later = await submit(caller, message="Not now", not_before="2099-01-01T00:00:00Z")
    queued = (await caller.get("jobs", params={"status": "queued"})).json()["data"]
    assert later in [job["job_id"] for job in queued]
    assert (await caller.post(f"jobs/{later}/cancel")).status_code == 202


async def test_a_failure_that_passes_is_tried_again(
    caller: httpx.AsyncClient, emulator: EmulatorControl, thread_id: str
) -> None:
    await emulator.inject("status", status=503, headers={"Retry-After": "0"}, times=4)
    done = await ended(caller, await submit(caller, message="Hello", thread_id=thread_id))
    assert (done["status"], done["attempts"]) == ("succeeded", 1)
    assert done["result"]["content"] == "You said: Hello"


async def test_a_job_that_waits_is_cancelled_at_once_wherever_it_stands(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    """The head of a lane and the one behind it; then the lane is free for the next."""
    far = "8000-01-01T00:00:00+00:00"
    head = await submit(caller, message="Never", thread_id=thread_id, not_before=far)
    behind = await submit(caller, message="Never", thread_id=thread_id)
    last = await submit(caller, message="Hello", thread_id=thread_id)
    for job_id in (behind, head):
        answer = await caller.post(f"jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
        job = (await caller.get(f"jobs/{job_id}")).json()
        assert (job["status"], job["problem"]["code"]) == ("cancelled", "cancelled")
        assert job["finished_at"]
        again = await caller.post(f"jobs/{job_id}/cancel")
        assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    assert (await ended(caller, last))["status"] == "succeeded"
    said = (await caller.get(f"threads/{thread_id}/messages")).json()["data"]
    assert "Never" not in str(said)
