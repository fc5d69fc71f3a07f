"""Anything at all in the fields of a message or a job, on the four ways into the running app.

Refused or taken, never a fault. `FUZZ_EXAMPLES` says how many are tried on each; 5,000 take some
minutes. Each test prints how many it tried, and what came of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from ulid import ULID

from shared.state.keys import identifier
from tests.support.asking import TERMINAL
from tests.support.odd_bodies import QUEUEING, SENDING, SUBMITTING, bodies_with
from tests.support.served import KEY_PARTITION, REJECTED_PARTITION, Deployment, put_on_intake
from tests.support.waiting import eventually

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 60)
MODELS_FAULT = "response_format_mismatch"
"""Of 5xx: the scripted model does not write what a schema asks for."""

TURNS_OF_A_THREAD = 20
AFTER_SECONDS = 30 + EXAMPLES / 20

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Outcomes:
    """What came of the bodies of one way in."""

    counts: Counter[str] = field(default_factory=Counter[str])

    def check(self, status: int, code: str, about: object) -> None:
        """Count an outcome, which is no fault of ours."""
        self.counts[f"{status} {code}".strip()] += 1
        assert status < 500 or code == MODELS_FAULT, about

    def answered(self, answer: httpx.Response) -> dict[str, Any]:
        """Count an answer, or the problem that ends a stream, and return it."""
        document = answer.json() if answer.content else {}
        self.check(answer.status_code, document.get("code", ""), answer.text)
        for name, value in answer.headers.items():
            assert value.isprintable(), name
        return document

    def streamed(self, answer: httpx.Response) -> None:
        """Count what a stream ended with."""
        kind, _, data = answer.text.strip().rpartition("event: ")[2].partition("\ndata: ")
        assert kind in {"turn.completed", "error"}, answer.text
        document = json.loads(data)
        self.check(document.get("status", 200), document.get("code", "streamed"), answer.text)


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    seen = Outcomes()
    yield seen
    print(f"\n{request.node.name}: {seen.counts.total()} tried, {dict(seen.counts)}")  # noqa: T201


async def send(caller: httpx.AsyncClient, path: str, body: Any, outcomes: Outcomes) -> Any:
    """Send a body; every second one asks for a stream."""
    streams = outcomes.counts.total() % 2 == 1
    headers = {"content-type": "application/json"}
    headers |= {"accept": "text/event-stream"} if streams else {}
    answer = await caller.post(path, content=json.dumps(body), headers=headers)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return outcomes.streamed(answer)
    return outcomes.answered(answer)


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies_with(SENDING))
async def test_messages(
    caller: httpx.AsyncClient, outcomes: Outcomes, body: dict[str, Any]
) -> None:
    await send(caller, "messages", body, outcomes)


@dataclass
class Conversation:
    """A thread that many odd messages are sent on, and then a plain one."""

    caller: httpx.AsyncClient
    thread_id: str = ""
    turns: int = 0

    async def path(self) -> str:
        """Where to send the next; what came before must not have broken the conversation."""
        if self.turns % TURNS_OF_A_THREAD == 0:
            await self.check()
            created = await self.caller.post("threads", json={})
            self.thread_id = created.json()["thread_id"]
        self.turns += 1
        return f"threads/{self.thread_id}/messages"

    async def check(self) -> None:
        if self.thread_id:
            path = f"threads/{self.thread_id}/messages"
            answer = await self.caller.post(path, json={"message": "And now?"})
            assert answer.status_code == 200, answer.text


@pytest.fixture
def conversation(caller: httpx.AsyncClient) -> Conversation:
    return Conversation(caller)


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies_with(SENDING))
async def test_threads(
    caller: httpx.AsyncClient,
    conversation: Conversation,
    outcomes: Outcomes,
    body: dict[str, Any],
) -> None:
    await send(caller, await conversation.path(), body, outcomes)


def problem_of(job: dict[str, Any]) -> tuple[int, str]:
    """The status and the code that a job ended with; 200 and how it stands where it has none."""
    problem = json.loads(job.get("problem") or "{}")
    return problem.get("status", 200), problem.get("code", job["status"])


async def ended_jobs(deployment: Deployment, owner: str, submitted: set[str]) -> list[Any]:
    """The rows of an owner's jobs, or of those submitted, when all have ended that may have run."""
    rows = await deployment.rows(owner, kind="job:")
    jobs = [row for row in rows if not submitted or identifier(row["RowKey"]) in submitted]
    due = [job for job in jobs if not job.get("not_before")]
    return jobs if all(job["status"] in TERMINAL for job in due) else []


@pytest.fixture
async def submitted(
    app: object, deployment: Deployment, outcomes: Outcomes
) -> AsyncIterator[set[str]]:
    """The ids of accepted jobs; at the end, all are there, and none failed by our fault."""
    ids: set[str] = set()
    yield ids
    jobs = await eventually(lambda: ended_jobs(deployment, KEY_PARTITION, ids), AFTER_SECONDS)
    assert len(jobs) == len(ids)
    for job in jobs:
        outcomes.check(*problem_of(job), job)


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies_with(SUBMITTING))
async def test_jobs(
    caller: httpx.AsyncClient, submitted: set[str], outcomes: Outcomes, body: dict[str, Any]
) -> None:
    headers = {"content-type": "application/json"}
    answer = await caller.post("jobs", content=json.dumps(body), headers=headers)
    document = outcomes.answered(answer)
    assert answer.status_code < 500
    if answer.status_code == 202:
        submitted.add(document["job_id"])


@dataclass
class Producer:
    """Puts messages on the public queue, most of them of one owner."""

    deployment: Deployment
    owner: str = field(default_factory=lambda: f"tenant-1:{ULID()}")
    sent: int = 0

    async def put(self, body: dict[str, Any]) -> None:
        """Put a message that names the owner and a job of its own where the body does not."""
        named = {"owner": self.owner, "job_id": f"job_{ULID()}"} | body
        self.sent += named["owner"] == self.owner  # another's jobs are not looked at
        await put_on_intake(self.deployment, json.dumps(named))

    async def jobs(self) -> list[Any]:
        """The owner's jobs, when no message is left and all have ended."""
        for queue in (self.deployment.intake, f"{self.deployment.intake}-poison"):
            if await self.deployment.depth(queue):
                return []
        return await ended_jobs(self.deployment, self.owner, set())


@pytest.fixture
async def producer(
    app: object, deployment: Deployment, outcomes: Outcomes
) -> AsyncIterator[Producer]:
    """When all are sent: each is a job or a rejected message, and none failed by our fault."""
    before = len(await deployment.rows(REJECTED_PARTITION))
    producer = Producer(deployment)
    yield producer
    jobs = await eventually(producer.jobs, AFTER_SECONDS)
    for job in jobs:
        outcomes.check(*problem_of(job), job)
    rejected = len(await deployment.rows(REJECTED_PARTITION)) - before
    print(f"\n{producer.sent} put on the queue, {rejected} rejected")  # noqa: T201
    assert len(jobs) + rejected >= producer.sent


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies_with(QUEUEING))
async def test_the_queue(producer: Producer, body: dict[str, Any]) -> None:
    await producer.put(body)
