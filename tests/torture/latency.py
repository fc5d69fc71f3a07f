"""How long a job takes and how many one worker does: `python -m tests.torture.latency`.

The model takes 200 ms for an answer. A job's time is that from its acceptance to its end, both as
its row tells, so the caller's own way to the app is not in it. It is measured on an idle host, and
again while that host has callbacks to tell to receivers that never answer.
"""

from __future__ import annotations

import asyncio
import base64
import random
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from local.services import FunctionsHost, HostLaunch, functions_host
from shared.jobs.callbacks.webhooks import MAX_AT_ONCE
from tests.support.receiver import receiver

from .run import Site, make_storage, site

TOKEN_SECONDS = 0.05
WORDS = 4
QUESTION = f"/words {WORDS}"
"""Answered in `WORDS` times `TOKEN_SECONDS`."""

ONE_BY_ONE = 100
"""Jobs that find the host idle."""

LONGEST_PAUSE_SECONDS = 1.0
AT_ONCE = 400
"""Jobs that are all submitted before the first can be done."""

BATCH_LANES = 20
BATCH_MESSAGES = 20
"""The same number of messages, one after the other in a few lanes."""

DEAD_RECEIVERS = 5
CALLBACKS = 100
SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()

SUBMITTERS = 16


def main() -> None:
    """Print one line of figures."""
    folder = Path(tempfile.mkdtemp(prefix="latency-"))
    with site(folder, TOKEN_SECONDS) as where:
        asyncio.run(make_storage(where.storage))
        launch = HostLaunch(environment=_settings(where))
        with functions_host(folder, launch) as host:
            asyncio.run(_measure(host))


def _settings(where: Site) -> dict[str, str]:
    return {
        **where.environment,
        "AzureFunctionsJobHost__logging__logLevel__default": "Warning",
        "CALLBACK_SECRET": SECRET,
        "TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1": "true",
    }


async def _measure(host: FunctionsHost) -> None:
    async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=60) as caller:
        await _one(caller)
        idle = await _one_by_one(caller)
        alone = {"message": QUESTION}
        lanes_per_second = await _throughput(caller, [alone] * AT_ONCE)
        batch = {"messages": [QUESTION] * BATCH_MESSAGES, "new_thread": True}
        messages_per_second = BATCH_MESSAGES * await _throughput(caller, [batch] * BATCH_LANES)
        async with _dead_receivers(caller):
            beside = await _one_by_one(caller)
    upstream = f"{WORDS * TOKEN_SECONDS * 1000:.0f} ms upstream"
    print(f"latency: queued to succeeded, {upstream}, {ONE_BY_ONE} jobs on an idle host: {idle}")
    print(f"latency: the same beside {CALLBACKS} callbacks to dead receivers: {beside}")
    print(
        f"throughput of one worker: {lanes_per_second:.1f} jobs/s, each a lane of its own; "
        f"{messages_per_second:.1f} messages/s in {BATCH_LANES} lanes"
    )


async def _one_by_one(caller: httpx.AsyncClient) -> str:
    """The time of jobs that come one after the other, as text."""
    times = sorted([await _after_a_pause(caller) for _ in range(ONE_BY_ONE)])
    p50, p95 = statistics.median(times), times[int(len(times) * 0.95)]
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s"


@asynccontextmanager
async def _dead_receivers(caller: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Receivers that take every connection and never answer, with much to be told to them."""
    async with AsyncExitStack() as running:
        dead = [await running.enter_async_context(receiver()) for _ in range(DEAD_RECEIVERS)]
        for each in dead:
            each.gate.clear()
        for number in range(CALLBACKS):
            url = dead[number % DEAD_RECEIVERS].url
            await _submit(caller, {"message": QUESTION, "callback_url": url})
        for each in dead:
            await each.has(MAX_AT_ONCE)
        yield


async def _after_a_pause(caller: httpx.AsyncClient) -> float:
    await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311
    return await _one(caller)


async def _one(caller: httpx.AsyncClient) -> float:
    """Seconds that one job took."""
    return _seconds(await _ended(caller, await _submit(caller, {"message": QUESTION})))


async def _throughput(caller: httpx.AsyncClient, jobs: list[dict[str, Any]]) -> float:
    """Jobs a second while there is always one that waits."""
    slots = asyncio.Semaphore(SUBMITTERS)

    async def put(job: dict[str, Any]) -> str:
        async with slots:
            return await _submit(caller, job)

    started = time.monotonic()
    for job_id in await asyncio.gather(*(put(job) for job in jobs)):
        await _ended(caller, job_id)
    return len(jobs) / (time.monotonic() - started)


async def _submit(caller: httpx.AsyncClient, job: dict[str, Any]) -> str:
    answer = await caller.post("jobs", json=job)
    return answer.raise_for_status().json()["job_id"]


async def _ended(caller: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await caller.get(f"jobs/{job_id}", params={"wait": 50})
    job = answer.raise_for_status().json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"{job_id} is {job['status']}")
    return job


def _seconds(job: dict[str, Any]) -> float:
    created, finished = (datetime.fromisoformat(job[f"{n}_at"]) for n in ("created", "finished"))
    return (finished - created).total_seconds()


if __name__ == "__main__":
    main()
