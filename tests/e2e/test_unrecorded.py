"""With RECORD_CONTENT off, nothing that was said is in a table, a queue or a log."""

import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError

from local.services import FunctionsHost
from tests.support.asking import ended, submit
from tests.support.receiver import receiver
from tests.support.served import REJECTED_PARTITION, Deployment, EmulatorControl
from tests.support.waiting import eventually

from .test_callbacks import SECRET

SAID = "marmalade"
"""A word of every message, which the answers repeat."""


@dataclass(frozen=True)
class Unrecorded:
    """An app that records no content."""

    deployment: Deployment
    host: FunctionsHost
    replies: str

    async def where_said(self) -> list[str]:
        """Where the word is stored or logged."""
        queues = (self.deployment.intake, self.deployment.lanes, self.deployment.deliveries)
        places = {"tables": await self.deployment.everything()}
        for queue in queues:
            for name in (queue, f"{queue}-poison"):
                messages = await self.deployment.waiting(name)
                places[name] = "".join(base64.b64decode(text).decode() for text in messages)
        places["log"] = self.host.log_path.read_text("utf-8", "replace")
        return [
            f"{place}: {line[:300]}"
            for place, text in places.items()
            for line in text.splitlines()
            if SAID in line
        ]


@pytest.fixture(scope="module")
def unrecorded(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Unrecorded]:
    """The app with all ways to be answered, at its most talkative."""
    own, replies = Deployment(deployment.storage, deployment.foundry), f"r-{uuid.uuid4().hex[:12]}"
    settings = {
        "RECORD_CONTENT": "false",
        "CALLBACK_SECRET": SECRET,
        "REPLY_QUEUES": replies,
        "TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1": "true",
    }
    with own.serve(tmp_path_factory.mktemp("unrecorded"), **settings) as host:
        yield Unrecorded(own, host, replies)


@pytest.fixture
async def private(unrecorded: Unrecorded) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of it."""
    async with httpx.AsyncClient(base_url=f"{unrecorded.host.url}/api/", timeout=30) as client:
        yield client


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


async def test_the_replay_of_a_key_has_ids_and_no_text(
    private: httpx.AsyncClient, unrecorded: Unrecorded
) -> None:
    thread_id = (await private.post("threads", json={})).json()["thread_id"]
    said = {"message": f"I like {SAID}."}
    requests = [
        ("messages", said, "content"),
        (f"threads/{thread_id}/messages", said, "content"),
        ("orchestrate", {"user_input": said["message"], "conversation_id": "c"}, "reply"),
    ]
    for path, body, text in requests:
        headers = keyed()
        first = (await private.post(path, json=body, headers=headers)).json()
        again = await private.post(path, json=body, headers=headers)
        assert SAID in first[text]
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == {**first, text: None, "content_recorded": False}
    streamed = {**keyed(), "accept": "text/event-stream"}
    first = await private.post("messages", json=said, headers=streamed)
    again = await private.post("messages", json=said, headers=streamed)
    assert SAID in first.text
    assert "turn.completed" in again.text
    assert '"content_recorded":false' in again.text
    assert SAID not in again.text
    assert await unrecorded.where_said() == []


async def test_a_job_says_what_it_took_and_delivers_what_was_said(
    private: httpx.AsyncClient, unrecorded: Unrecorded
) -> None:
    messages = [f"I like {SAID}.", f"More {SAID}, please."]
    async with receiver() as there:
        there.gate.clear()
        alone = await submit(private, message=messages[0])
        called = await submit(private, messages=messages, callback_url=f"{there.url}/hook")
        replied = await submit(private, message=messages[0], reply_queue=unrecorded.replies)
        for job_id in (alone, called, replied):
            job = await ended(private, job_id)
            assert job["status"] == "succeeded"
            for result in job["results"]:
                assert (result["content"], result["content_recorded"]) == (None, False)
                assert result["finish_reason"] == "stop"
                assert result["usage"]["total_tokens"] > 0
        there.gate.set()
        (call,) = await there.has(1)
    results = json.loads(call.body)["data"]["results"]
    assert [SAID in result["content"] for result in results] == [True, True]

    async def is_delivered() -> bool:
        jobs = [(await private.get(f"jobs/{job_id}")).json() for job_id in (called, replied)]
        return all(job["delivery"] == "delivered" for job in jobs)

    await eventually(is_delivered)
    (reply,) = await unrecorded.deployment.waiting(unrecorded.replies)
    assert SAID in json.loads(base64.b64decode(reply))["data"]["result"]["content"]
    assert await unrecorded.deployment.rows(kind="answer:") == []
    assert await unrecorded.where_said() == []


async def test_a_stored_response_has_its_state_and_no_text(
    private: httpx.AsyncClient, unrecorded: Unrecorded
) -> None:
    asked = {"model": "llama-3.3-70b", "input": f"I like {SAID}.", "metadata": {"ticket": "9"}}
    made = (await private.post("v1/responses", json=asked)).json()
    assert SAID in made["output"][0]["content"][0]["text"]
    read = (await private.get(f"v1/responses/{made['id']}")).json()
    assert (read["status"], read["usage"]) == ("completed", made["usage"])
    assert (read["output"], read["content_recorded"]) == ([], False)
    for more in ({"previous_response_id": made["id"]}, {"background": True}):
        refused = await private.post("v1/responses", json={**asked, **more})
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == next(iter(more))
    chat = {"model": asked["model"], "messages": [{"role": "user", "content": asked["input"]}]}
    for path, body in (("v1/chat/completions", chat), ("v1/responses", asked)):
        for stream in (False, True):
            headers, streamed = keyed(), {**body, "stream": stream}
            assert SAID in (await private.post(path, json=streamed, headers=headers)).text
            again = await private.post(path, json=streamed, headers=headers)
            error = again.json()["error"]
            assert (again.status_code, error["code"]) == (409, "answer_not_kept")
            assert again.headers["x-should-retry"] == "false"
    assert await unrecorded.where_said() == []


async def test_what_is_rejected_leaves_a_reason_and_no_text(unrecorded: Unrecorded) -> None:
    wrong = [
        {"owner": "key", "message": SAID, SAID: 1},
        {"owner": "key", "message": SAID, "max_tokens": SAID},
        {"owner": "key", "message": SAID, "thread_id": "thread_01HZZZZZZZZZZZZZZZZZZZZZZZ"},
        [SAID],
    ]
    async with unrecorded.deployment.queue(unrecorded.deployment.intake) as intake:
        with suppress(ResourceExistsError):
            await intake.create_queue()
        for body in wrong:
            await intake.send_message(json.dumps(body))
        await intake.send_message(f"{SAID}: not JSON")

    async def notes() -> list[dict[str, object]]:
        rows = await unrecorded.deployment.rows(REJECTED_PARTITION)
        return rows if len(rows) == len(wrong) + 1 else []

    reasons = {str(note["reason"]) for note in await eventually(notes)}
    assert "an unknown field: extra_forbidden" in reasons

    async def is_taken() -> bool:
        return not await unrecorded.where_said()

    await eventually(is_taken)


async def test_a_failure_keeps_its_code_and_not_its_text(
    private: httpx.AsyncClient, unrecorded: Unrecorded, emulator: EmulatorControl
) -> None:
    refusal = {"error": {"message": f"'{SAID}' is not allowed.", "code": "invalid_value"}}
    await emulator.inject("status", status=400, body=refusal, times=3)
    headers = keyed()
    first = await private.post("messages", json={"message": SAID}, headers=headers)
    again = await private.post("messages", json={"message": SAID}, headers=headers)
    assert first.status_code == again.status_code == 400
    assert SAID in first.json()["detail"]
    assert SAID not in again.text
    assert first.json()["code"] == again.json()["code"]
    job = await ended(private, await submit(private, message=SAID))
    assert (job["status"], job["problem"]["status"]) == ("failed", 400)
    assert SAID not in json.dumps(job)
    assert await unrecorded.where_said() == []
