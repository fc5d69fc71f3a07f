"""Deleting a thread deletes all that came of it: in every table, and in Foundry."""

import json
import uuid
from pathlib import Path

import httpx

from shared.state.keys import newest_first
from tests.support.asking import ended, say, submit
from tests.support.served import Deployment, EmulatorControl


def word() -> str:
    """A word that is said on one thread only."""
    return f"plum{uuid.uuid4().hex[:8]}"


async def left(deployment: Deployment, emulator: EmulatorControl, *texts: str) -> list[str]:
    """Which texts are still in a table or in Foundry."""
    stored = await deployment.everything() + json.dumps(await emulator.responses())
    return [text for text in texts if text in stored]


async def test_nothing_of_a_thread_is_left_anywhere(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl
) -> None:
    said = word()
    keys = [{"Idempotency-Key": uuid.uuid4().hex} for _ in range(3)]
    made = await caller.post("threads", json={"metadata": {"m": said}}, headers=keys[0])
    thread_id = made.json()["thread_id"]
    path, message = f"threads/{thread_id}/messages", {"message": f"I like {said}."}
    assert (await caller.post(path, json=message, headers=keys[1])).status_code == 200
    job = {"messages": [said, said], "thread_id": thread_id}
    submitted = await caller.post("jobs", json=job, headers=keys[2])
    job_id = submitted.json()["job_id"]
    assert (await ended(caller, job_id))["status"] == "succeeded"
    waiting = await submit(
        caller, message=said, thread_id=thread_id, not_before="2999-01-01T00:00:00Z"
    )
    (row,) = await deployment.rows(kind=newest_first(thread_id))
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 204

    for answer in (
        await caller.get(f"threads/{thread_id}"),
        await caller.delete(f"threads/{thread_id}"),
        await caller.get(path),
        await caller.post(path, json=message),
        await caller.get(f"jobs/{job_id}"),
        await caller.get(f"jobs/{waiting}"),
        await caller.post("threads", json={"metadata": {"m": said}}, headers=keys[0]),
        await caller.post(path, json=message, headers=keys[1]),
        await caller.post("jobs", json=job, headers=keys[2]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    listed = [await caller.get("threads"), await caller.get("jobs")]
    assert [each.text for each in listed if thread_id in each.text or said in each.text] == []
    assert await left(deployment, emulator, said, row["conversation_id"]) == []
    keys = [each["RowKey"] for each in await deployment.rows() if thread_id in repr(each)]
    assert [key for key in keys if not key.startswith("audit:")] == []


async def test_a_conversation_of_orchestrate_goes_with_its_thread(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl
) -> None:
    name, said = word(), word()
    body = {"user_input": f"My name is {said}.", "conversation_id": name}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    answer = (await caller.post("orchestrate", json=body, headers=key)).json()
    thread_id = answer["thread_id"]
    assert await left(deployment, emulator, name, said) == [name, said]
    assert (await caller.delete(f"threads/{thread_id}")).status_code == 204
    assert await left(deployment, emulator, name, said) == []
    replayed = await caller.post("orchestrate", json=body, headers=key)
    assert replayed.status_code == 404
    again = {"user_input": "What is my name?", "conversation_id": name}
    fresh = (await caller.post("orchestrate", json=again)).json()
    assert fresh["thread_id"] != thread_id
    assert fresh["reply"] == "I do not know your name."


async def test_a_chain_of_responses_goes_whole(
    deployment: Deployment, emulator: EmulatorControl, tmp_path: Path
) -> None:
    own, said = Deployment(deployment.storage, deployment.foundry), word()
    endpoint = f"{deployment.foundry.url}/openai/v1"
    settings = {
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": endpoint,
        "FOUNDRY_AGENT_SERVICE_API_KEY": "local-key",
    }
    with own.serve(tmp_path, **settings) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            thread_id = (await caller.post("threads", json={})).json()["thread_id"]
            for number in range(3):
                await say(caller, thread_id, f"{said} {number}")
            turns = await own.rows(kind=f"turn:{thread_id}:")
            assert len(turns) == 3
            assert (await caller.delete(f"threads/{thread_id}")).status_code == 204
            assert await own.rows(kind="turn:") == []
    async with httpx.AsyncClient(base_url=endpoint, headers={"api-key": "local-key"}) as foundry:
        for turn in turns:
            assert turn["response_id"] in turn["responses"]
            assert (await foundry.get(f"responses/{turn['response_id']}")).status_code == 404
