"""Threads that end by themselves."""

from __future__ import annotations

import asyncio
import json
import os

import httpx
import pytest

from shared.app import Services
from shared.jobs.queue import WakeUp
from shared.state.errors import RowMissingError, StorageUnavailableError
from shared.state.keys import turn_prefix
from shared.state.lanes import LEASE_SECONDS
from shared.state.table import Change, Operation
from shared.threads.removal import BUSY_SECONDS, REFUSED_SECONDS
from tests.support.app_on_fakes import App
from tests.support.calling import caller
from tests.support.waiting import eventually

KEY_OWNER = "key"
HOUR = 3_600

TURNS = int(os.environ.get("REMOVED_TURNS", "2500"))
"""Of the longest thread that is removed: more than one page of its rows."""
WRITES_BEFORE_DEATH = TURNS // 500


def markers(app: App) -> int:
    partitions = [name for name in app.table.partitions if name.startswith("$expiries")]
    return sum(len(app.table.rows(partition)) for partition in partitions)


async def start(services: Services, expires_in: int | None = HOUR) -> str:
    async with caller(services) as api:
        body = {"expires_in": expires_in} if expires_in else {}
        return (await api.post("threads", json=body)).json()["thread_id"]


async def test_a_thread_goes_when_its_time_is_over_here_and_in_foundry(
    project: tuple[App, Services],
) -> None:
    app, services = project
    expiring, lasting = await start(services), await start(services, None)
    app.clock.advance(HOUR - 1)
    assert await services.timers.removal.expire() == 0
    app.clock.advance(2)
    assert await services.timers.removal.expire() == 1
    assert len(app.table.rows(KEY_OWNER, "thread:")) == 1
    assert len(app.foundry.conversations) == 1
    assert (await services.core.threads.get(KEY_OWNER, lasting)).thread_id == lasting
    with pytest.raises(RowMissingError):
        await services.core.threads.get(KEY_OWNER, expiring)
    assert markers(app) == 0


async def test_looking_for_expired_threads_reads_none_that_live(app: App) -> None:
    services = app.services()
    for _ in range(50):
        await start(services)
    app.table.reset_counts()
    assert await services.timers.removal.expire() == 0
    assert app.table.transactions == 16


@pytest.mark.parametrize("dies_at", range(1, 4))
async def test_a_death_half_way_leaves_nothing_behind(
    project: tuple[App, Services], dies_at: int
) -> None:
    """Writes of one removal: hide, delete, forget the marker."""
    app, services = project
    await start(services)
    app.clock.advance(HOUR + 1)
    for _ in range(dies_at - 1):
        app.table.before_next_write(_let_through)
    app.table.fail_next_write()
    with pytest.raises(StorageUnavailableError):
        await services.timers.removal.expire()
    await app.services().timers.removal.expire()
    assert app.table.rows(KEY_OWNER, "thread:") == []
    assert app.foundry.conversations == {}
    assert markers(app) == 0


async def _let_through() -> None:
    """Do nothing before a write."""


async def test_jobs_that_wait_for_a_thread_are_run_first(app: App, services: Services) -> None:
    thread_id = await start(services)
    async with caller(services) as api:
        job = (await api.post("jobs", json={"message": "Hi", "thread_id": thread_id})).json()
    app.clock.advance(HOUR + 1)
    assert await services.timers.removal.expire() == 0
    assert markers(app) == 1
    await services.workers.runner.drain(WakeUp(KEY_OWNER, thread_id))
    assert (await services.core.jobs.get(KEY_OWNER, job["job_id"])).status == "succeeded"
    app.clock.advance(BUSY_SECONDS + 1)
    assert await services.timers.removal.expire() == 1
    assert markers(app) == 0


async def test_a_thread_that_foundry_keeps_is_tried_again_later(
    project: tuple[App, Services],
) -> None:
    app, services = project
    await start(services)
    app.clock.advance(HOUR + 1)
    app.foundry.then(httpx.Response(403, json={"error": {"message": "no"}}), "/conv_1")
    assert await services.timers.removal.expire() == 0
    assert await services.timers.removal.expire() == 0
    app.clock.advance(REFUSED_SECONDS + 1)
    assert await services.timers.removal.expire() == 1
    assert app.foundry.conversations == {}


async def test_a_thread_that_its_owner_deleted_is_forgotten(app: App, services: Services) -> None:
    thread_id = await start(services)
    await services.timers.removal.remove(KEY_OWNER, thread_id)
    app.clock.advance(HOUR + 1)
    assert await services.timers.removal.expire() == 0
    assert markers(app) == 0


async def add_turns(app: App, thread_id: str, count: int) -> None:
    for start in range(0, count, 100):
        rows = [
            Change(
                Operation.INSERT,
                f"{turn_prefix(thread_id)}{number:026d}",
                {"question": "q", "responses": json.dumps([f"resp_t{number}"])},
            )
            for number in range(start, min(start + 100, count))
        ]
        await app.table.write(KEY_OWNER, rows)


async def test_a_long_thread_is_removed_although_the_process_dies_again_and_again(
    project: tuple[App, Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.threads.removal.INLINE_SECONDS", 600)  # however slow the machine
    app, services = project
    thread_id = await start(services, None)
    await add_turns(app, thread_id, TURNS)
    app.foundry.responses |= {f"resp_t{n}": {"id": f"resp_t{n}"} for n in range(TURNS)}
    left = [TURNS]
    for _ in range(3):
        for _ in range(WRITES_BEFORE_DEATH):
            app.table.before_next_write(_let_through)
        app.table.fail_next_write()
        with pytest.raises(StorageUnavailableError):
            if len(left) == 1:
                await services.timers.removal.remove(KEY_OWNER, thread_id)
            else:
                await app.services().timers.removal.expire()
        left.append(len(app.table.rows(KEY_OWNER, "turn:")))
        app.clock.advance(LEASE_SECONDS + 2)
    assert left == sorted(left, reverse=True)
    assert left[-1] <= TURNS - 3 * 75 * WRITES_BEFORE_DEATH
    assert await app.services().timers.removal.expire() == 1
    assert app.table.rows(KEY_OWNER) == []
    assert app.foundry.responses == app.foundry.conversations == {}
    assert markers(app) == 0


async def test_what_foundry_refuses_is_hidden_and_goes_later(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await start(services, None)
    app.foundry.then(httpx.Response(403, json={"error": {"message": "no"}}), "/conv_1")
    async with caller(services) as api:
        assert (await api.delete(f"threads/{thread_id}")).status_code == 503
        assert (await api.get(f"threads/{thread_id}")).status_code == 404
    assert await services.timers.removal.expire() == 0
    app.clock.advance(LEASE_SECONDS + 2)
    assert await services.timers.removal.expire() == 1
    assert app.table.rows(KEY_OWNER) == []
    assert markers(app) == 0


async def test_a_deletion_that_takes_long_goes_on_behind_its_answer(
    project: tuple[App, Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, services = project
    monkeypatch.setattr("shared.threads.removal.INLINE_SECONDS", 0.01)
    thread_id, release = await start(services, None), asyncio.Event()

    async def wait(request: httpx.Request) -> httpx.Response:
        await release.wait()
        return await app.foundry.answer(request)

    app.foundry.then(wait, "/conv_1")
    async with caller(services) as api:
        answer = await api.delete(f"threads/{thread_id}")
        assert (answer.status_code, answer.json()["status"]) == (202, "deleting")
        assert (await api.get(f"threads/{thread_id}")).status_code == 404
        release.set()
        await eventually(lambda: not app.table.rows(KEY_OWNER))
    assert app.foundry.conversations == {}


async def test_a_deletion_that_died_before_it_began_is_forgotten(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await start(services, None)
    app.table.before_next_write(_let_through)
    app.table.fail_next_write()
    with pytest.raises(StorageUnavailableError):
        await services.timers.removal.remove(KEY_OWNER, thread_id)
    app.clock.advance(LEASE_SECONDS + 2)
    assert await services.timers.removal.expire() == 0
    assert (await services.core.threads.get(KEY_OWNER, thread_id)).thread_id == thread_id
    assert markers(app) == 0
