"""The OpenAI-compatible face beside the app's own API, in one worker process and in turns.

`python -m bench.faces` prints the processor time of a request to `/chat/completions` and
`/responses` as a ratio to that of `POST /messages`, against an upstream and a table that answer at
once.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any
from uuid import uuid4

from local.services import ROOT
from tests.support.environments import DEPLOYED_VERSION, find_python, with_requirements

from .app import our_app, storage
from .client import MESSAGE, MODEL
from .served import App, Served
from .upstream import upstream

ROUNDS = 24
WARM_UP_ROUNDS = 2
REQUESTS = 144
"""Of a route in a round: many, because the first of them find nothing of their code in the caches,
and what the last of them leave to do is counted with the next route; but not so many that the speed
of a shared machine changes within a round."""

_numbers = count(1)
"""In each message: an app that is asked the same twice by an SDK knows it."""

SDK = "x-stainless-retry-count: 0\r\n"
"""As official clients send it: the app then keeps the answer for a request that comes again."""


@dataclass(frozen=True)
class Route:
    """A route that answers the same message."""

    function: str
    path: str
    body: Callable[[str], Mapping[str, Any]]
    """Its body, with a message."""
    headers: str = ""
    is_keyed: bool = False
    """Whether each request has an `Idempotency-Key`."""

    @property
    def header_lines(self) -> str:
        """The header lines of the next request."""
        return f"Idempotency-Key: {uuid4()}\r\n" if self.is_keyed else self.headers


def _messages(message: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": message}]}


def _input(message: str, *, store: bool = False) -> dict[str, Any]:
    return {"model": MODEL, "input": message, "store": store}


NATIVE = Route("send_message", "api/messages", lambda message: {"message": message})
_CHAT = Route("create_chat_completion", "api/v1/chat/completions", _messages)
_RESPONSE = Route("create_response", "api/v1/responses", _input)
FACES = {
    "messages, key": replace(NATIVE, is_keyed=True),
    "chat": _CHAT,
    "chat, SDK": replace(_CHAT, headers=SDK),
    "responses": _RESPONSE,
    "responses, stored": replace(_RESPONSE, body=partial(_input, store=True)),
}


async def cpu_ms(served: Served, route: Route, in_flight: int) -> float:
    """Processor time of the worker for each request, in milliseconds."""
    left, cpu = REQUESTS, served.cpu_seconds()

    async def keep_busy(place: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            body = route.body(f"{MESSAGE} {next(_numbers)}")
            await served.post(place, route.function, route.path, body, route.header_lines)

    await asyncio.gather(*(keep_busy(place) for place in range(in_flight)))
    return (served.cpu_seconds() - cpu) / REQUESTS * 1000


async def compare(served: Served, in_flight: int, rounds: int) -> None:
    """Measure all routes in turns, and print the ratios of their means."""
    routes = {"native": NATIVE, **FACES}
    measured: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(WARM_UP_ROUNDS + rounds):
        for name, route in routes.items():
            ms = await cpu_ms(served, route, in_flight)
            if number >= WARM_UP_ROUNDS:
                measured[name].append(ms)
    native = _mean(measured["native"])
    for name in FACES:
        ms = _mean(measured[name])
        print(
            f"{name:18} c={in_flight:<4} CPU {ms / native:5.2f}  | {ms:5.2f} ms | {native:5.2f} ms",
            flush=True,
        )


def _mean(values: list[float]) -> float:
    """The mean of the middle half, without what disturbances made slow or fast."""
    quarter = len(values) // 4
    return mean(sorted(values)[quarter : len(values) - quarter])


async def run(python: Path, app: App, rounds: int) -> None:
    """Print all rows."""
    async with Served.running(app, python) as served:
        for in_flight in (1, 32):
            await compare(served, in_flight, rounds)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.faces", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    interpreter = find_python()
    if interpreter is None:
        print(f"skipped: there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
        return 0
    python = with_requirements(interpreter)
    with upstream(delay=0.0) as url, storage(on_azurite=False) as (account, _):
        asyncio.run(run(python, our_app("this app", ROOT, url, account), options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
