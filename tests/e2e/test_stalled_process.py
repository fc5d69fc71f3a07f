"""A process that stands still for longer than its lease, and then goes on."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from shared.state.keys import newest_first
from tests.support.asking import say
from tests.support.served import KEY_PARTITION, Deployment, EmulatorControl
from tests.support.waiting import eventually

LEASE_SECONDS = 3
PAUSE_SECONDS = 2
"""What Foundry asks the first process to wait before its retry; it is stopped meanwhile."""

MESSAGE = "My name is Ada."


async def audited(deployment: Deployment, thread_id: str) -> list[tuple[str, str]]:
    """Outcome and code of each turn of a thread, by the audit trail."""
    rows = await deployment.rows(kind="audit:")
    sent = [row for row in rows if row.get("thread_id") == thread_id and row.get("turn_id")]
    return sorted((row["outcome"], row.get("code", "")) for row in sent)


async def test_a_process_that_stood_still_does_not_send_what_its_successor_sent(
    caller: httpx.AsyncClient,
    deployment: Deployment,
    emulator: EmulatorControl,
    thread_id: str,
    tmp_path: Path,
) -> None:
    await say(caller, thread_id, "Hello")
    url, body = f"threads/{thread_id}/messages", {"message": MESSAGE}
    headers = {"Idempotency-Key": f"stalled-{thread_id}"}
    queues = {name: f"{getattr(deployment, name)}-2" for name in ("intake", "lanes", "deliveries")}
    stalling = replace(deployment, **queues)
    with stalling.serve(tmp_path, LEASE_SECONDS=str(LEASE_SECONDS)) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as first_caller:
            await first_caller.get(f"threads/{thread_id}")
            await emulator.inject("status", status=429, headers={"Retry-After": str(PAUSE_SECONDS)})
            before = len(await emulator.requests("responses.create"))
            first = asyncio.create_task(first_caller.post(url, json=body, headers=headers))

            async def waits_to_retry() -> bool:
                return len(await emulator.requests("responses.create")) > before

            await eventually(waits_to_retry)
            host.signal(signal.SIGSTOP)
            try:

                async def taken_over() -> httpx.Response | None:
                    answer = await caller.post(url, json=body, headers=headers)
                    return answer if answer.status_code == 200 else None

                second: httpx.Response = await eventually(taken_over)
            finally:
                host.signal(signal.SIGCONT)
            lost = await first
    assert (lost.status_code, lost.json()["code"]) == (409, "lease_lost")
    assert second.json()["content"] == f"You said: {MESSAGE}"
    assert len(await emulator.requests("responses.create")) == before + 2
    questions = [row["question"] for row in await deployment.rows(kind=f"turn:{thread_id}:")]
    assert questions == ["Hello", MESSAGE]
    (thread,) = await deployment.rows(kind=newest_first(thread_id))
    said = [i for i in await emulator.items(thread["conversation_id"]) if i.get("role") == "user"]
    assert [item["content"][0]["text"] for item in said] == ["Hello", MESSAGE]
    assert await audited(deployment, thread_id) == [("succeeded", "")] * 2


async def test_a_turn_whose_commit_came_too_late_failed_by_the_audit_trail(
    caller: httpx.AsyncClient, deployment: Deployment, emulator: EmulatorControl, thread_id: str
) -> None:
    """Another instance takes the thread over while the answer is on its way."""
    await say(caller, thread_id, "Hello")
    before = len(await emulator.requests("responses.create"))
    await emulator.inject("hang", seconds=1.0)
    url = f"threads/{thread_id}/messages"
    turn = asyncio.create_task(caller.post(url, json={"message": MESSAGE}))

    async def is_sent() -> bool:
        return len(await emulator.requests("responses.create")) > before

    await eventually(is_sent)
    (row,) = await deployment.rows(kind=newest_first(thread_id))
    taken: dict[str, Any] = {
        "PartitionKey": KEY_PARTITION,
        "RowKey": row["RowKey"],
        "lease_holder": "turn_of_another_instance",
    }
    async with TableClient.from_connection_string(deployment.storage, deployment.table) as client:
        await client.update_entity(taken, mode=UpdateMode.MERGE)
    lost = await turn
    assert (lost.status_code, lost.json()["code"]) == (409, "lease_lost")

    async def outcomes() -> list[tuple[str, str]]:
        found = await audited(deployment, thread_id)
        return found if len(found) == 2 else []

    assert await eventually(outcomes) == [("failed", "lease_lost"), ("succeeded", "")]
    assert len(await deployment.rows(kind=f"turn:{thread_id}:")) == 1
