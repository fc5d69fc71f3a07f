"""What this app adds to a turn: time, and delay of what is streamed.

`python -m bench.turns` runs the app's own HTTP handlers in this process, on a table in memory,
against an upstream process that takes a fixed time; a bare aiohttp call stands beside them.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import perf_counter, process_time
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared.app import Services, Tables
from shared.config import AppSettings, FoundryAgentServiceConfig
from shared.foundry.service import FoundryService
from shared.routes import ROUTES
from tests.support.fakes import FakeQueues, FakeTable

from .client import API_KEY, BODY, MESSAGE, MODEL
from .upstream import DELAY_SECONDS, upstream

IN_FLIGHT = 32
ROUNDS = 40
WARM_UP_ROUNDS = 5

_ROUTES = {route.name: route for route in ROUTES}

Timed = Callable[[int], Awaitable[list[float]]]
"""Does what is measured, for one of the places in flight; gives seconds."""


def request(body: dict[str, Any], *, streamed: bool = False, **path: str) -> Request:
    """A request as the host hands it over."""
    content = json.dumps(body).encode()
    accept = b"text/event-stream" if streamed else b"application/json"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/api/messages",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"accept", accept)],
            "path_params": path,
        },
        receive,
    )


class App:
    """The app's handlers, called as the host calls them."""

    def __init__(self, url: str) -> None:
        foundry = FoundryAgentServiceConfig(endpoint_url=url, api_key=API_KEY, model=MODEL)
        settings = AppSettings(foundry=foundry)
        self.services = Services.build(
            settings,
            tables=Tables(FakeTable(), FakeTable(), FakeTable()),
            queues=FakeQueues(),
            foundry=FoundryService(foundry),
            clock=lambda: datetime.now(UTC),
        )
        self.thread_ids: list[str] = []

    async def open_threads(self) -> None:
        for _ in range(IN_FLIGHT):
            made = await self.answered("create_thread", request({}))
            self.thread_ids.append(made["thread_id"])

    async def _sent(self, route: str, asked: Request) -> Response:
        web = self.services.web
        return await _ROUTES[route].answer(web.edge, web.api, asked)

    async def answered(self, route: str, asked: Request) -> dict[str, Any]:
        """Make a request of a route; gives its JSON."""
        response = await self._sent(route, asked)
        if response.status_code >= 400:
            raise RuntimeError(bytes(response.body).decode())
        return json.loads(bytes(response.body))

    async def message(self, _place: int) -> list[float]:
        """A turn that stands alone: the time it took beyond the upstream's."""
        started = perf_counter()
        await self.answered("send_message", request({"message": MESSAGE}))
        return [perf_counter() - started - DELAY_SECONDS]

    async def on_thread(self, place: int) -> list[float]:
        """A turn on a thread."""
        started = perf_counter()
        asked = request({"message": MESSAGE}, thread_id=self.thread_ids[place])
        await self.answered("send_thread_message", asked)
        return [perf_counter() - started - DELAY_SECONDS]

    async def _deltas(self, _place: int) -> tuple[float, list[tuple[float, float]]]:
        """When a streamed turn began, and when each delta was sent by Foundry and by us."""
        started = perf_counter()
        asked = request({"message": MESSAGE}, streamed=True)
        response = await self._sent("send_message", asked)
        if not isinstance(response, StreamingResponse):
            raise TypeError(bytes(response.body).decode())
        times: list[tuple[float, float]] = []
        async for chunk in response.body_iterator:
            frame = chunk if isinstance(chunk, bytes) else str(chunk).encode()
            if frame.startswith(b"event: message.delta"):
                sent_at = float(json.loads(frame.split(b"data: ", 1)[1])["text"])
                times.append((sent_at, perf_counter()))
        return started, times

    async def first_delta(self, place: int) -> list[float]:
        """From the request to the first streamed text, beyond the upstream's time."""
        started, times = await self._deltas(place)
        return [times[0][1] - started - DELAY_SECONDS]

    async def later_deltas(self, place: int) -> list[float]:
        """From Foundry's sending of a delta to ours."""
        _, times = await self._deltas(place)
        return [received - sent for sent, received in times[1:]]


async def run(timed: Timed, rounds: int) -> list[float]:
    """Keep places busy that do not beat in time with each other."""
    found: list[float] = []
    chance = random.Random(1)  # noqa: S311 - spreads starts, keeps no secret

    async def keep_busy(place: int) -> None:
        await asyncio.sleep(chance.random() * DELAY_SECONDS)
        for _ in range(rounds):
            found.extend(await timed(place))

    await asyncio.gather(*(keep_busy(place) for place in range(IN_FLIGHT)))
    return sorted(found)


async def report(name: str, timed: Timed, rounds: int = ROUNDS) -> None:
    """Print one row."""
    await run(timed, WARM_UP_ROUNDS)
    before = process_time()
    found = await run(timed, rounds)
    cpu_ms = (process_time() - before) / (rounds * IN_FLIGHT) * 1000
    p50, p99 = (found[int(len(found) * share)] * 1000 for share in (0.50, 0.99))
    print(
        f"{name:34} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  of {len(found):5}; "
        f"{cpu_ms:5.2f} ms CPU a turn",
        flush=True,
    )


async def compare(url: str) -> None:
    """Run all rows."""
    app = App(url)
    await app.open_threads()
    async with aiohttp.ClientSession(headers={"api-key": API_KEY}) as session:

        async def bare(_place: int) -> list[float]:
            started = perf_counter()
            async with session.post(f"{url}/responses", json=BODY) as response:
                await response.json()
            return [perf_counter() - started - DELAY_SECONDS]

        print(
            f"{IN_FLIGHT} in flight, upstream {DELAY_SECONDS * 1000:.0f} ms, which is not counted"
        )
        await report("bare aiohttp call", bare)
        await report("sync turn", app.message)
        await report("sync turn on a thread", app.on_thread)
        await report("streamed turn, first text", app.first_delta, ROUNDS // 4)
        await report("streamed turn, each later delta", app.later_deltas, ROUNDS // 4)
    await app.services.aclose()


def main() -> int:
    """Run the benchmark."""
    with upstream() as url:
        asyncio.run(compare(url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
