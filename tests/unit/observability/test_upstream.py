"""What is counted of Foundry while a turn waits for it."""

from __future__ import annotations

import asyncio

import pytest

from shared.foundry.errors import FoundryError
from shared.foundry.events import ignore
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.observability.upstream import Upstream, counted, new_upstream, waiting
from tests.support.app_on_fakes import at_resource
from tests.support.scripted_foundry import ScriptedFoundry, sse


async def counted_turn(foundry: ScriptedFoundry, *, retries: int = 1) -> Upstream:
    service = FoundryService(at_resource(max_retries=retries), http=foundry.transport)
    with counted() as upstream:
        await service.respond(TurnRequest("Hi"), seconds=5)
    await service.aclose()
    return upstream


async def test_tokens_are_those_that_were_reported() -> None:
    upstream = await counted_turn(ScriptedFoundry())
    assert upstream.usage["total_tokens"] == 5
    assert (upstream.unreported, upstream.retries) == (0, 0)


async def test_a_refusal_uses_nothing_and_its_retry_counts() -> None:
    foundry = ScriptedFoundry()
    foundry.then_fail(500, retry_after_ms="1")
    upstream = await counted_turn(foundry)
    assert (upstream.usage["total_tokens"], upstream.unreported, upstream.retries) == (5, 0, 1)


async def test_what_an_answer_used_that_never_arrived_is_unknown() -> None:
    foundry = ScriptedFoundry()
    foundry.then_lose()
    upstream = await counted_turn(foundry)
    assert (upstream.usage["total_tokens"], upstream.unreported) == (5, 1)


async def test_a_failed_answer_tells_what_it_used() -> None:
    foundry = ScriptedFoundry()
    failed = {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "server_error"},
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }
    event = {"type": "response.failed", "response": failed, "sequence_number": 0}
    foundry.then_stream(sse(event))
    service = FoundryService(at_resource(max_retries=0), http=foundry.transport)
    with counted() as upstream, pytest.raises(FoundryError):
        await service.respond(TurnRequest("Hi"), emit=ignore)
    await service.aclose()
    assert (upstream.usage["total_tokens"], upstream.unreported) == (7, 0)


async def test_a_cut_stream_leaves_its_tokens_unknown() -> None:
    foundry = ScriptedFoundry()
    foundry.then_stream(b"")
    service = FoundryService(at_resource(max_retries=0), http=foundry.transport)
    with counted() as upstream, pytest.raises(FoundryError):
        await service.respond(TurnRequest("Hi"), emit=ignore)
    await service.aclose()
    assert (upstream.usage, upstream.unreported) == ({}, 1)


async def test_the_time_of_a_part_counts_for_the_whole() -> None:
    whole = new_upstream()
    with counted() as part, waiting():
        await asyncio.sleep(0)
    assert whole.seconds == part.seconds > 0
