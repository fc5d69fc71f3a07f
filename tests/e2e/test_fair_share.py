"""An owner with a great many jobs holds up nobody else's, and all of them are done."""

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError

from tests.support.asking import ended, submit
from tests.support.served import Deployment, JsonObject
from tests.support.waiting import eventually

JOBS = 150
LONG_JOB_EVERY = 5
"""So many of the jobs bring two messages instead of one."""
OVERTAKEN = 5
"""Jobs that were on the queue first and are started later."""

FLOOD_SECONDS = 200.0


def _messages(job: int) -> list[str]:
    return [f"job {job}", "and more"] if job % LONG_JOB_EVERY == 0 else [f"job {job}"]


async def _flood(deployment: Deployment, owner: str) -> None:
    """Have an owner's producer put many jobs at once."""
    async with deployment.queue(deployment.intake) as intake:
        with suppress(ResourceExistsError):
            await intake.create_queue()
        bodies = [{"owner": owner, "messages": _messages(job)} for job in range(JOBS)]
        await asyncio.gather(*(intake.send_message(json.dumps(body)) for body in bodies))


@pytest.mark.timeout(FLOOD_SECONDS + 60)
async def test_a_second_owner_starts_while_the_first_floods_the_queue(
    caller: httpx.AsyncClient, deployment: Deployment
) -> None:
    owner = f"tenant:{uuid4()}"
    await _flood(deployment, owner)

    async def jobs(*statuses: str) -> list[JsonObject]:
        rows = await deployment.rows(owner, kind="job:")
        return [row for row in rows if row["status"] in statuses]

    async def some_run() -> bool:
        return bool(await jobs("running", "succeeded"))

    async def all_done() -> bool:
        return len(await jobs("succeeded")) == JOBS

    await eventually(some_run, FLOOD_SECONDS)
    mine = await ended(caller, await submit(caller, message="And mine?"), FLOOD_SECONDS)
    assert mine["status"] == "succeeded"
    await eventually(all_done, FLOOD_SECONDS)
    started = datetime.fromisoformat(mine["started_at"])
    later = [row for row in await jobs("succeeded") if row["started_at"] > started]
    assert len(later) >= OVERTAKEN, "it waited until the other owner's jobs had all been started"
    turns = await deployment.rows(owner, kind="turn:")
    said: dict[str, list[str]] = {}
    for turn in turns:  # a thread's turns, oldest first
        said.setdefault(turn["job_id"], []).append(turn["question"])
    assert sorted(said.values()) == sorted(map(_messages, range(JOBS)))
