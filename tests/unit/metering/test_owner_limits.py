"""What one owner may take at once; beyond, the request is refused and counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.config import AppSettings, LimitSettings
from shared.http.request import BODY_SECONDS
from shared.metering.counts import FLEET, View
from shared.metering.owner_limits import LimitError, LimitUse, OwnerLimit, OwnerLimits
from shared.metering.reading import Window
from shared.problems import problem_from
from shared.state.keys import Kind, new_id
from tests.support.app_on_fakes import App, at_resource
from tests.support.calling import caller
from tests.support.skipping_time import run_skipping

FEW = LimitSettings(requests=2, waits=1, threads_per_minute=3)


class Seconds:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _few(turns: int = 0) -> OwnerLimits:
    return OwnerLimits(FEW, lambda _: turns, Seconds())


def _app() -> App:
    return App(settings=AppSettings(foundry=at_resource(), limits=FEW))


def test_requests_at_once_are_limited_for_each_owner() -> None:
    limits = _few()
    with limits.request("a"), limits.request("a"):
        with pytest.raises(LimitError) as caught, limits.request("a"):
            pass
        with limits.request("b"):
            pass
    with limits.request("a"):
        pass
    problem = problem_from(caught.value)
    assert (problem.status, problem.code, problem.retry_after) == (429, "owner_limit", 1.0)
    assert problem.more == {"limit": "requests"}


def test_turns_count_whose_callers_went_away() -> None:
    with pytest.raises(LimitError), _few(turns=2).request("a"):
        pass


def test_threads_are_limited_by_the_minute() -> None:
    clock = Seconds()
    limits = OwnerLimits(FEW, lambda _: 0, clock)
    for _ in range(3):
        limits.new_thread("a")
    with pytest.raises(LimitError) as caught:
        limits.new_thread("a")
    limits.new_thread("b")
    assert caught.value.retry_after == pytest.approx(20)
    clock.now += 20
    limits.new_thread("a")
    with pytest.raises(LimitError):
        limits.new_thread("a")


def test_the_use_of_each_limit_is_counted() -> None:
    clock = Seconds()
    limits = OwnerLimits(FEW, lambda _: 0, clock)
    limits.new_thread("a")
    limits.new_thread("a")
    with limits.request("a"), limits.waiting("a", 5):
        shown = {limit.value: (use.most, use.used, use.left) for limit, use in _uses(limits, "a")}
    assert shown == {"requests": (2, 1, 1), "waits": (1, 1, 0), "new_threads": (3, 2, 1)}
    clock.now += 40
    assert [use.left for _, use in _uses(limits, "a")] == [2, 1, 3]
    assert [use.used for _, use in _uses(limits, "b")] == [0, 0, 0]
    assert [use.left for _, use in _uses(_few(turns=5), "a")] == [0, 1, 3]


def _uses(limits: OwnerLimits, owner: str) -> list[tuple[OwnerLimit, LimitUse]]:
    return list(limits.use(owner).items())


async def test_too_many_threads_are_refused_on_every_route_and_counted() -> None:
    app = _app()
    services = app.services()
    async with caller(services) as client:
        assert (await client.post("threads", json={})).status_code == 201
        assert (await client.post("jobs", json={"messages": ["a", "b"]})).status_code == 202
        headers = {"Idempotency-Key": "again"}
        for _ in range(3):  # of which two are answered from the first
            kept = await client.post("threads", json={}, headers=headers)
            assert kept.status_code == 201
        for route, body in (("threads", {}), ("jobs", {"message": "Hi", "new_thread": True})):
            refused = await client.post(route, json=body)
            assert (refused.status_code, refused.json()["code"]) == (429, "owner_limit")
            assert refused.json()["limit"] == "new_threads"
            assert 0 < int(refused.headers["retry-after"]) <= 20
        assert (await client.post("jobs", json={"message": "Hi"})).status_code == 202
    await services.core.meter.flush()
    _, counted = await app.services().web.api.metrics.reader.window(
        FLEET, View.REFUSALS, Window.HOUR
    )
    assert counted["new_threads",].requests == 2
    await app.aclose()


async def test_too_many_waits_are_refused() -> None:
    app = _app()
    async with caller(app.services()) as client:
        job_id = (await client.post("jobs", json={"message": "Hi"})).json()["job_id"]
        held = asyncio.create_task(client.get(f"jobs/{job_id}", params={"wait": 200}))
        await asyncio.sleep(0.05)
        refused = await client.get(f"jobs/{job_id}", params={"wait": 1})
        assert (refused.status_code, refused.json()["limit"]) == (429, "waits")
        thread = new_id(Kind.THREAD)
        busy = await client.post(f"threads/{thread}/messages?wait=1", json={"message": "Hi"})
        assert (busy.status_code, busy.json()["limit"]) == (429, "waits")
        assert (await client.get(f"jobs/{job_id}")).status_code == 200
        held.cancel()
        await asyncio.wait([held])
        assert (await client.get(f"jobs/{job_id}", params={"wait": 1})).status_code == 200
    await app.aclose()


async def test_a_stream_has_its_place_until_it_is_over() -> None:
    app = _app()
    services = app.services()
    async with caller(services) as client:
        events = {"accept": "text/event-stream"}
        for _ in range(5):
            answer = await client.post("messages", json={"message": "Hi"}, headers=events)
            assert answer.status_code == 200
            assert "turn.completed" in answer.text
    with services.core.limits.request("key"), services.core.limits.request("key"):
        pass  # nothing was left behind
    await app.aclose()


def test_a_body_that_trickles_in_is_cut_off() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in json.dumps({"message": "Hi" * 100}):
            yield byte.encode()
            await asyncio.sleep(1)

    async def send() -> httpx.Response:
        app = _app()
        async with caller(app.services()) as client:
            headers = {"content-type": "application/json"}
            begun = asyncio.get_running_loop().time()
            answer = await client.post("messages", content=trickle(), headers=headers)
            assert asyncio.get_running_loop().time() - begun < BODY_SECONDS + 1
        await app.aclose()
        return answer

    answer = run_skipping(send())
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"


def test_limits_have_generous_defaults() -> None:
    assert LimitSettings().requests >= 2_000
    assert set(OwnerLimit) == {"requests", "waits", "new_threads", "body_seconds"}
