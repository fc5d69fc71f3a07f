"""A worker killed in the middle of a job, which nobody submits or wakes again."""

import asyncio
from pathlib import Path

import httpx

from tests.support.asking import ended, submit
from tests.support.served import Deployment, EmulatorControl
from tests.support.waiting import eventually

LEASE_SECONDS = 15
TAKE_OVER_SECONDS = 60
"""A lease, and time to run."""

SWEEP_EVERY_SECONDS = 1.0


async def test_a_killed_workers_job_ends_once_though_nobody_wakes_its_lane(
    deployment: Deployment, emulator: EmulatorControl, tmp_path: Path
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    with own.serve(tmp_path, LEASE_SECONDS=str(LEASE_SECONDS)) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            thread_id = (await caller.post("threads")).json()["thread_id"]
            before = len(await emulator.requests("responses.create"))
            await emulator.inject("hang", seconds=60)
            cut_off = await submit(caller, message="My name is Ada.", thread_id=thread_id)
            follower = await submit(caller, message="What is my name?", thread_id=thread_id)

            async def has_asked() -> bool:
                return len(await emulator.requests("responses.create")) > before

            await eventually(has_asked)
            host.kill()
            async with own.queue(own.lanes) as wake_ups:
                await wake_ups.clear_messages()
            host.restart()

            interrupted = (await caller.get(f"jobs/{cut_off}")).json()
            assert interrupted["status"] == "running"

            async def is_swept_up() -> bool:
                """Whether a sweep, more often than by its schedule, has had the job taken over."""
                await asyncio.sleep(SWEEP_EVERY_SECONDS)
                await caller.post(f"{host.url}/admin/functions/sweep_lanes", json={})
                return (await caller.get(f"jobs/{cut_off}")).json()["status"] != "running"

            await eventually(is_swept_up, TAKE_OVER_SECONDS)
            first = await ended(caller, cut_off)
            second = await ended(caller, follower)
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert second["result"]["content"] == "Your name is Ada."
    questions = [row["question"] for row in await own.rows(kind=f"turn:{thread_id}:")]
    assert questions == ["My name is Ada.", "What is my name?"]
    (thread,) = await own.rows(kind="thread:")
    said = [i for i in await emulator.items(thread["conversation_id"]) if i["role"] == "user"]
    assert len(said) == 2
