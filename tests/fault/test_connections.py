"""Connections: no more than the pool keeps, and none left behind."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.errors import FoundryError
from shared.foundry.events import MessageDelta, TurnEvent, events_of, ignore
from shared.foundry.models import TurnRequest, TurnResult
from shared.foundry.service import FoundryService
from tests.support.laboratory import API_KEY, JsonObject, Laboratory
from tests.support.relay import relay_to

POOL_SIZE = 20
TURNS = 1000
AT_ONCE = 100
LONG_ANSWER = "/words 200"

FAULTS: dict[str, JsonObject] = {
    "refused": {"kind": "status", "status": 400},
    "failing": {"kind": "status", "status": 503},
    "dropped": {"kind": "drop"},
    "dropped after work": {"kind": "work_then_drop"},
    "cut": {"kind": "cut_stream", "after_events": 6},
    "malformed": {"kind": "malformed_event", "at": 5},
    "silent": {"kind": "hang", "seconds": 3.0},
}
KINDS = ("json", "stream", "abandoned", *FAULTS)


def client_of(url: str, *, timeout: float = 30) -> FoundryService:
    config = FoundryAgentServiceConfig(
        endpoint_url=f"{url}/openai/v1",
        api_key=API_KEY,
        pool_size=POOL_SIZE,
        max_retries=0,
        timeout=timeout,
    )
    return FoundryService(config)


async def take(service: FoundryService, kind: str) -> str:
    """Take one turn of a kind, and say how it ended."""
    turn = TurnRequest(f"hi {kind}", metadata={"kind": kind})
    try:
        if kind in {"json", "refused", "dropped after work"}:
            await service.respond(turn)
        elif kind == "silent":
            await service.respond(turn, seconds=0.2)
        elif kind == "abandoned":
            await leave_early(service)
            return "left"
        else:
            await service.respond(turn, emit=ignore)
    except FoundryError as error:
        return error.code
    return "answer"


async def leave_early(service: FoundryService) -> None:
    async with aclosing(stream(service)) as events:
        async for event in events:
            if isinstance(event, MessageDelta):
                return


def stream(service: FoundryService) -> AsyncGenerator[TurnEvent | TurnResult]:
    turn = TurnRequest(LONG_ANSWER)
    return events_of(lambda emit: service.respond(turn, emit=emit))


async def test_a_thousand_mixed_turns_leave_no_more_than_the_pool_keeps(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, fault in FAULTS.items():
        always = {"operation": "responses.create", "times": None, **fault}
        matching = {**always, "match": {"metadata": {"kind": kind}}}
        (await lab.http.post("/_emulator/faults", json=matching)).raise_for_status()
    async with relay_to(lab.emulator.url) as (relay, url):
        service = client_of(url)
        places = asyncio.Semaphore(AT_ONCE)

        async def run(number: int) -> str:
            async with places:
                return await take(service, KINDS[number % len(KINDS)])

        ends = Counter(await asyncio.gather(*map(run, range(TURNS))))
        await relay.until_open(POOL_SIZE)
        left, most, made = relay.open, relay.most, relay.made
        answer = await take(service, "json")
        await service.aclose()
        await relay.until_open(0)
    row = ", ".join(f"{name} {number}" for name, number in sorted(ends.items()))
    with capsys.disabled():
        sys.stdout.write(
            f"\nconnections: {TURNS} turns ({row}), made {made}, most {most}, left {left}, "
            f"pool {POOL_SIZE}\n"
        )
    assert ends["answer"] >= TURNS // len(KINDS) * 2
    assert ends["left"] == TURNS // len(KINDS)
    assert ends["timeout"] > 0
    assert left <= POOL_SIZE
    assert answer == "answer"


async def test_leaving_a_stream_closes_its_connection_at_once(lab: Laboratory) -> None:
    slow: JsonObject = {"operation": "responses.create", "kind": "slow", "seconds": 60.0}
    (await lab.http.post("/_emulator/faults", json={**slow, "times": None})).raise_for_status()
    async with relay_to(lab.emulator.url) as (relay, url):
        service = client_of(url)
        async with aclosing(stream(service)) as events:
            async for event in events:
                if isinstance(event, MessageDelta):
                    assert relay.open == 1
                    break
        await relay.until_open(0)  # the next event would have come in a minute
        await service.aclose()


async def test_a_caller_who_is_cancelled_leaves_no_connection(lab: Laboratory) -> None:
    hang: JsonObject = {"operation": "responses.create", "kind": "hang", "seconds": 5.0}
    (await lab.http.post("/_emulator/faults", json=hang)).raise_for_status()
    async with relay_to(lab.emulator.url) as (relay, url):
        service = client_of(url)
        turn = asyncio.create_task(service.respond(TurnRequest("hi")))
        async with asyncio.timeout(5):
            while not relay.open:
                await asyncio.sleep(0.01)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        await relay.until_open(0)
        await service.aclose()
