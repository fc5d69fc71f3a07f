"""Budgets of departments and of owners, on real storage, through every way in."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError

from local.services import Azurite, FoundryEmulator, FunctionsHost
from tests.support.asking import ended, submit
from tests.support.callers import (
    ACCESS,
    BEARER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    TENANT,
    claims_of,
    document,
    encoded,
)
from tests.support.served import Deployment
from tests.support.waiting import eventually

TOKENS = 30_000
"""What an owner may use; more than a few short turns, less than one long text."""

LONG = "x" * 3 * TOKENS
SETTINGS = {
    **ACCESS,
    "AUTH_MODE": "entra",
    "FOUNDRY_MAX_TOKENS": "500",
    "DEPARTMENT_CLAIM": "department",
    "DEPARTMENTS": json.dumps({OWNER_KEY.upper(): "Queue's"}),
    "BUDGETS": json.dumps(
        [
            {"department": "*", "requests": 1, "per": "month"},
            {"owner": "*", "tokens": TOKENS, "per": "month"},
        ]
    ),
}


@dataclass(frozen=True)
class Running:
    """The app and where it keeps what it does."""

    deployment: Deployment
    host: FunctionsHost

    def caller(self, department: str | None = None) -> httpx.AsyncClient:
        """Somebody new, whose token names a department or none."""
        claims = claims_of(TENANT, str(uuid.uuid4()), "Agents.Use")
        claims += [("department", department)] if department else []
        headers = {**BEARER, PRINCIPAL_HEADER: encoded(document(claims))}
        return httpx.AsyncClient(base_url=f"{self.host.url}/api/", timeout=30, headers=headers)


@pytest.fixture(scope="module")
def running(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    own = Deployment(azurite.connection_string, foundry)
    with own.serve(tmp_path_factory.mktemp("departments"), **SETTINGS) as host:
        yield Running(own, host)


@pytest.fixture
async def nobody(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of whose department nothing is known."""
    async with running.caller() as client:
        yield client


async def put(own: Deployment, message: dict[str, Any]) -> None:
    """Put a job on the public queue."""
    async with own.queue(own.intake) as queue:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(json.dumps(message))


async def on_a_thread(client: httpx.AsyncClient, stated: str) -> httpx.Response:
    made = await client.post("threads", json={"metadata": {"department": stated}})
    path = f"threads/{made.json()['thread_id']}/messages"
    return await client.post(path, json={"message": "Hello"})


async def alone(client: httpx.AsyncClient, stated: str) -> httpx.Response:
    body = {"message": "Hello", "metadata": {"department": stated}}
    return await client.post("messages", json=body)


async def streamed(client: httpx.AsyncClient, stated: str) -> httpx.Response:
    body = {"message": "Hello", "metadata": {"department": stated}}
    return await client.post("messages", json=body, headers={"Accept": "text/event-stream"})


async def orchestrated(client: httpx.AsyncClient, stated: str) -> httpx.Response:
    metadata = {"department": stated}
    body = {"user_input": "Hello", "conversation_id": str(uuid.uuid4()), "metadata": metadata}
    return await client.post("orchestrate", json=body)


@pytest.mark.parametrize("send", [alone, streamed, on_a_thread, orchestrated])
async def test_a_budget_is_neither_dodged_nor_used_against_others(
    running: Running, nobody: httpx.AsyncClient, send: Any
) -> None:
    law = f"Law of {send.__name__}"
    async with running.caller(law) as one, running.caller(f" {law.upper()} ") as two:
        for _ in range(2):  # a statement of one who is not of the department spends nothing of it
            assert (await send(nobody, law)).status_code == 200
        assert (await send(one, "Sales")).status_code == 200
        for client, stated in ((one, law), (one, "Sales"), (two, "Sales"), (two, "")):
            answer = await send(client, stated)
            assert answer.status_code == 429, answer.text
            problem = answer.json()
            assert problem["code"] == "budget_exhausted"
            assert problem["budget"]["subject"] == f"department:{law.lower()}"
    usage = (await nobody.get("usage", params={"by": "department"})).json()["groups"]
    assert law.lower() in {group["department"] for group in usage}


async def test_a_job_spends_from_the_department_of_its_submitter(running: Running) -> None:
    async with running.caller("Jobs") as client:
        job = await ended(client, await submit(client, message="Hello"))
        assert job["status"] == "succeeded"
        answer = await client.post("messages", json={"message": "Hello"})
        assert answer.json()["budget"]["subject"] == "department:jobs"
        waiting = await submit(client, message="Hi", metadata={"department": "other"})

        async def has_problem() -> Any:
            return (await client.get(f"jobs/{waiting}")).json()["problem"]

        problem = await eventually(has_problem)
        assert problem["budget"]["subject"] == "department:jobs"
        cancelled = await client.post(f"jobs/{waiting}/cancel")  # and it ends at once
        assert cancelled.json()["status"] == "cancelled"
        assert (await client.get(f"jobs/{waiting}")).json()["problem"]["code"] == "cancelled"


async def test_a_job_from_the_queue_spends_from_the_department_of_its_owner(
    running: Running,
) -> None:
    own = running.deployment
    for stated in ("Queue's", "Other"):
        message = {"owner": OWNER_KEY, "message": "Hi", "metadata": {"department": stated}}
        await put(own, message)

    async def jobs() -> list[Any]:
        rows = await own.rows(OWNER_KEY, kind="job:")
        has_problem = any(row.get("problem") for row in rows)
        states = sorted(row["status"] for row in rows)
        return rows if has_problem and states == ["queued", "succeeded"] else []

    rows = await eventually(jobs, 30)
    (problem,) = [json.loads(row["problem"]) for row in rows if "problem" in row]
    assert problem["budget"]["subject"] == "department:queue's"


async def test_what_never_fits_is_refused_for_good_at_every_way_in(
    running: Running, nobody: httpx.AsyncClient
) -> None:
    for path, body in (
        ("messages", {"message": LONG}),
        ("jobs", {"message": LONG}),
        ("jobs", {"messages": ["Hi", LONG]}),
        ("orchestrate", {"user_input": LONG, "conversation_id": "never"}),
    ):
        answer = await nobody.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "budget_too_small")
        assert "retry-after" not in answer.headers
        assert "retry_after" not in answer.json()
        assert answer.json()["budget"]["limit"] == TOKENS
        assert answer.json()["budget"]["needed"] > TOKENS
        assert "left" not in answer.json()["detail"]
    own, owner = running.deployment, f"{TENANT}:{uuid.uuid4()}"
    job_id = "job_01" + "0" * 24
    pictures = ["https://example.com/a.png"] * 10
    long = {"owner": owner, "job_id": job_id, "message": "x" * 45_000, "images": pictures}
    await put(own, long)

    async def failed() -> Any:
        rows = await own.rows(owner, kind="job:")
        return [row for row in rows if row["status"] == "failed"]

    (row,) = await eventually(failed, 30)
    assert json.loads(row["problem"])["code"] == "budget_too_small"


async def test_a_job_that_can_never_run_ends_at_once_and_its_lane_moves_on(
    nobody: httpx.AsyncClient,
) -> None:
    thread = (await nobody.post("threads", json={})).json()["thread_id"]
    answer = await nobody.post(f"threads/{thread}/messages", json={"message": "word " * 400})
    taken = answer.json()["usage"]["total_tokens"]
    most = 3 * (TOKENS - 500 - taken // 2)  # fits by itself, but not behind what was said before
    never = await submit(nobody, thread_id=thread, message="x" * most)
    after = await submit(nobody, thread_id=thread, message="Hello")
    job = await ended(nobody, never)
    assert (job["status"], job["problem"]["code"]) == ("failed", "budget_too_small")
    assert (await ended(nobody, after))["status"] == "succeeded"
