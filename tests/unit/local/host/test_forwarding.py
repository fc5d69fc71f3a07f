"""Silence and workers that go away, as the host's proxy answers for them."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from local.host.forwarding import SENDS, Forwarder

SILENCE_SECONDS = 0.2
START = {"type": "http.response.start", "status": 200, "headers": []}


def caller(worker: ASGIApp) -> httpx.AsyncClient:
    forwarder = Forwarder(worker, SILENCE_SECONDS)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await forwarder.forward(scope, "an-id", receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host")


async def test_silence_ends_a_request_with_504_and_no_body_while_the_function_goes_on() -> None:
    finished = asyncio.Event()

    async def silent(_: Scope, __: Receive, send: Send) -> None:
        await asyncio.sleep(2 * SILENCE_SECONDS)
        await send(START)  # nobody listens any more
        finished.set()

    answer = await caller(silent).get("/x")
    assert (answer.status_code, answer.content) == (504, b"")
    await asyncio.wait_for(finished.wait(), 10)


async def test_a_stream_that_says_something_goes_on() -> None:
    async def slow(_: Scope, __: Receive, send: Send) -> None:
        await send(START)
        for _number in range(4):
            await asyncio.sleep(SILENCE_SECONDS / 2)
            await send({"type": "http.response.body", "body": b".", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    assert (await caller(slow).get("/x")).content == b"...."


async def test_an_answer_that_falls_silent_is_cut() -> None:
    async def stuck(_: Scope, __: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(60)

    with pytest.raises(ConnectionAbortedError):
        await caller(stuck).get("/x")


@pytest.mark.parametrize(("body", "sends"), [(None, SENDS), (b"a body", 1)])
async def test_a_worker_that_never_answers_is_502_without_a_body(
    body: bytes | None, sends: int
) -> None:
    seen: list[bytes] = []

    async def gone(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(dict(scope["headers"])[b"x-ms-invocation-id"])

    answer = await caller(gone).post("/x", content=body)
    assert (answer.status_code, answer.content) == (502, b"")
    assert seen == [b"an-id"] * sends
