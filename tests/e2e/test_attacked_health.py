"""Others are answered at once while schemas and answers attack that are made to take long.

`ATTACKED_HEALTH_MS` is the longest that health may take, for a machine on which nothing else runs;
then each attack is also made alone, and its figures are printed.
"""

from __future__ import annotations

import asyncio
import os
from time import perf_counter
from typing import Any

import httpx
import pytest

from tests.support.attacks import ATTACKS

LIMIT_MS = float(os.environ.get("ATTACKED_HEALTH_MS") or 0)
OUTAGE_MS = 5_000.0
"""Attacks blocked it for 14 s and more; milliseconds are measured where nothing else runs."""

POLL_SECONDS = 0.02
AT_ONCE = 16
HEADERS = {"content-type": "application/json"}
EXPECTED = {200, 400, 413, 422, 429, 502}
BODIES = {name: attack.body for name, attack in ATTACKS.items()}


async def health_while(caller: httpx.AsyncClient, running: list[asyncio.Task[Any]]) -> list[float]:
    """How many milliseconds health took to answer, in order of size, until all tasks were done."""
    took: list[float] = []
    while not took or not all(task.done() for task in running):
        started = perf_counter()
        assert (await caller.get("health")).status_code == 200
        took.append((perf_counter() - started) * 1000)
        await asyncio.sleep(POLL_SECONDS)
    return sorted(took)


async def attacked(caller: httpx.AsyncClient, name: str, *attacks: str) -> float:
    """The longest that health took while some attacks ran, at most so many at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def attack(body: bytes) -> int:
        async with slots:
            answer = await caller.post("messages", content=body, headers=HEADERS, timeout=120)
            return answer.status_code

    began = perf_counter()
    running = [asyncio.create_task(attack(BODIES[each])) for each in attacks]
    took = await health_while(caller, running)
    statuses = sorted({task.result() for task in running})
    print(  # noqa: T201
        f"{name:28} {perf_counter() - began:6.2f} s  health p50 {took[len(took) // 2]:6.1f}  "
        f"p99 {took[len(took) * 99 // 100]:6.1f}  max {took[-1]:6.1f} ms of {len(took):4}  "
        f"{statuses}  load {os.getloadavg()[0]:.1f}"
    )
    assert set(statuses) <= EXPECTED
    return took[-1]


async def test_health_answers_while_all_attack(caller: httpx.AsyncClient) -> None:
    await attacked(caller, "the first message", "100,000 unique items")  # opens what it needs
    assert await attacked(caller, f"all, {AT_ONCE} at once", *ATTACKS) < (LIMIT_MS or OUTAGE_MS)


@pytest.mark.skipif(not LIMIT_MS, reason="takes a minute; `make torture` sets ATTACKED_HEALTH_MS")
@pytest.mark.timeout(600)
async def test_health_answers_while_one_attacks(caller: httpx.AsyncClient) -> None:
    quiet = asyncio.create_task(asyncio.sleep(2))
    print(f"\nquiet: at most {(await health_while(caller, [quiet]))[-1]:.1f} ms")  # noqa: T201
    longest = {name: await attacked(caller, name, name) for name in ATTACKS}
    assert {name: took for name, took in longest.items() if took > LIMIT_MS} == {}
