"""This client beside `openai.AsyncOpenAI` and bare aiohttp, against the same upstream.

`python -m bench.client` runs every row in a process of its own and prints the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any

from .upstream import TOKENS, upstream

LEVELS = (1, 64, 1000, 2000)
SECONDS = 4.0
"""How long each row is measured, after every place has had one answer."""

MAX_GROWTH = 1.1
"""Of resident memory while a row is measured; each has thousands of requests."""

OURS, OFFICIAL, BARE = "this client", "AsyncOpenAI", "aiohttp"
MESSAGE = "What is the capital of Belgium?"
MODEL = "llama-3.3-70b"
API_KEY = "local-key"

BODY = {
    "input": [{"type": "message", "role": "user", "content": MESSAGE}],
    "store": False,
    "model": MODEL,
    "temperature": 0.7,
    "top_p": 0.9,
    "max_output_tokens": 4096,
}

Ask = Callable[[], Awaitable[int]]
"""Makes one request; returns the tokens that its answer reports."""


@dataclass(frozen=True)
class Row:
    """The measurements of one client at one level."""

    client: str
    in_flight: int
    requests: int
    failures: int
    per_second: float
    cpu_ms: float
    """Processor time of the client's process per request."""
    p50_ms: float
    p99_ms: float
    rss_before_mb: float
    """Resident memory once every connection has had its first answer."""
    rss_after_mb: float

    def __str__(self) -> str:
        return (
            f"{self.client:12} in flight {self.in_flight:5}  {self.per_second:7.0f} requests/s  "
            f"{self.cpu_ms:6.2f} ms CPU each  p50 {self.p50_ms:6.0f} ms  p99 {self.p99_ms:6.0f} ms"
            f"  failures {self.failures}  memory {self.rss_before_mb:.0f} -> "
            f"{self.rss_after_mb:.0f} MB"
        )


async def measure(name: str, ask: Ask, in_flight: int) -> Row:
    """Keep ``in_flight`` requests under way for some seconds."""
    latencies: list[float] = []
    failures = 0
    await asyncio.gather(*(ask() for _ in range(in_flight)), return_exceptions=True)
    before = _resident_mb()
    started, cpu = perf_counter(), process_time()
    until = started + SECONDS

    async def keep_asking() -> None:
        nonlocal failures
        while (asked := perf_counter()) < until:
            try:
                answered = await ask() == TOKENS
            except Exception:  # noqa: BLE001 - whatever a client raises is a failure
                answered = False
            if answered:
                latencies.append(perf_counter() - asked)
            else:
                failures += 1

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    elapsed, used = perf_counter() - started, process_time() - cpu
    latencies.sort()
    total = len(latencies) + failures
    return Row(
        client=name,
        in_flight=in_flight,
        requests=total,
        failures=failures,
        per_second=len(latencies) / elapsed,
        cpu_ms=used / max(total, 1) * 1000,
        p50_ms=_share(latencies, 0.50) * 1000,
        p99_ms=_share(latencies, 0.99) * 1000,
        rss_before_mb=before,
        rss_after_mb=_resident_mb(),
    )


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def _resident_mb() -> float:
    """The most memory this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


async def measure_ours(url: str, in_flight: int) -> Row:
    from shared.config import FoundryAgentServiceConfig
    from shared.foundry.models import TurnRequest
    from shared.foundry.service import FoundryService

    config = FoundryAgentServiceConfig(endpoint_url=url, api_key=API_KEY, model=MODEL)
    service = FoundryService(config)

    async def ask() -> int:
        return (await service.respond(TurnRequest(MESSAGE))).usage["total_tokens"]

    try:
        return await measure(OURS, ask, in_flight)
    finally:
        await service.aclose()


async def measure_official(url: str, in_flight: int) -> Row:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key=API_KEY) as client:
        create: Any = client.responses.create

        async def ask() -> int:
            answer = await create(**BODY)
            return int(answer.usage.total_tokens)

        return await measure(OFFICIAL, ask, in_flight)


async def measure_bare(url: str, in_flight: int) -> Row:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers={"api-key": API_KEY}) as session:

        async def ask() -> int:
            async with session.post(f"{url}/responses", json=BODY) as response:
                return (await response.json())["usage"]["total_tokens"]

        return await measure(BARE, ask, in_flight)


CLIENTS = {OURS: measure_ours, OFFICIAL: measure_official, BARE: measure_bare}


def run_row(url: str, client: str, in_flight: int) -> Row:
    """Measure one row in a process of its own."""
    command = [sys.executable, "-m", "bench.client", "--row", client, str(in_flight), url]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - ourselves
    row = Row(**json.loads(done.stdout))
    print(row, flush=True)
    return row


def compare() -> int:
    """Run all rows and print the ratios; 1 where a promise is not kept."""
    with upstream() as url:
        rows = {(name, n): run_row(url, name, n) for n in LEVELS for name in CLIENTS}
    print()
    for n in LEVELS:
        ours, official, bare = (rows[name, n] for name in (OURS, OFFICIAL, BARE))
        print(
            f"in flight {n:5}: requests/s {ours.per_second / official.per_second:.2f} x "
            f"{OFFICIAL}, {ours.per_second / bare.per_second:.2f} x {BARE}; CPU per request "
            f"{ours.cpu_ms / official.cpu_ms:.2f} x {OFFICIAL}, "
            f"{ours.cpu_ms / bare.cpu_ms:.2f} x {BARE}"
        )
    thousand = rows[OURS, 1000].per_second
    promises = {
        "1,000 in flight: at least 4 x AsyncOpenAI": thousand
        >= 4 * rows[OFFICIAL, 1000].per_second,
        "1,000 in flight: at least 1/4 of aiohttp": thousand >= rows[BARE, 1000].per_second / 4,
        "64 in flight: less CPU each than AsyncOpenAI": rows[OURS, 64].cpu_ms
        < rows[OFFICIAL, 64].cpu_ms,
        "2,000 in flight: no failure": rows[OURS, 2000].failures == 0,
        "memory does not grow with the number of requests": all(
            rows[OURS, n].rss_after_mb <= rows[OURS, n].rss_before_mb * MAX_GROWTH for n in LEVELS
        ),
    }
    for promise, kept in promises.items():
        print(f"{'kept' if kept else 'MISSED':6}  {promise}")
    return 0 if all(promises.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", nargs=3, metavar=("CLIENT", "IN_FLIGHT", "URL"))
    options = parser.parse_args()
    if options.row is None:
        return compare()
    client, in_flight, url = options.row
    print(json.dumps(asdict(asyncio.run(CLIENTS[client](url, int(in_flight))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
