"""How long a job takes and how many one worker does: `python -m tests.torture.latency`.

The model takes 200 ms for an answer. A job's time is that from its acceptance to its end, both as
its row tells, so the caller's own way to the app is not in it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from local.services import FunctionsHost, HostLaunch, functions_host

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

SUBMITTERS = 16


def main() -> None:
    """Print one line of figures."""
    folder = Path(tempfile.mkdtemp(prefix="latency-"))
    with site(folder, TOKEN_SECONDS) as where:
        asyncio.run(make_storage(where.storage))
        launch = HostLaunch(environment=_quiet(where))
        with functions_host(folder, launch) as host:
            asyncio.run(_measure(host))


def _quiet(where: Site) -> dict[str, str]:
    quiet = {"AzureFunctionsJobHost__logging__logLevel__default": "Warning"}
    return {**where.environment, **quiet}


async def _measure(host: FunctionsHost) -> None:
    async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=60) as caller:
        await _one(caller)
        idle = sorted([await _after_a_pause(caller) for _ in range(ONE_BY_ONE)])
        jobs_per_second = await _throughput(caller)
    p50, p95 = statistics.median(idle), idle[int(len(idle) * 0.95)]
    print(
        f"latency: queued to succeeded with a {WORDS * TOKEN_SECONDS * 1000:.0f} ms upstream, "
        f"{ONE_BY_ONE} jobs on an idle host: p50 {p50:.2f} s, p95 {p95:.2f} s; "
        f"one worker: {jobs_per_second:.1f} jobs/s, each on its own lane"
    )


async def _after_a_pause(caller: httpx.AsyncClient) -> float:
    await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311
    return await _one(caller)


async def _one(caller: httpx.AsyncClient) -> float:
    """Seconds that one job took."""
    return _seconds(await _ended(caller, await _submit(caller)))


async def _throughput(caller: httpx.AsyncClient) -> float:
    """Jobs a second while there is always one that waits."""
    slots = asyncio.Semaphore(SUBMITTERS)

    async def put() -> str:
        async with slots:
            return await _submit(caller)

    started = time.monotonic()
    for job_id in await asyncio.gather(*(put() for _ in range(AT_ONCE))):
        await _ended(caller, job_id)
    return AT_ONCE / (time.monotonic() - started)


async def _submit(caller: httpx.AsyncClient) -> str:
    answer = await caller.post("jobs", json={"message": QUESTION})
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
