"""The sweeper: finds lanes that nobody works on, and forgets those without work."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.app import Services
from shared.foundry.models import TurnRequest
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.jobs.sweep import MARK_GRACE, MAX_POSTPONED
from shared.state.errors import StorageUnavailableError
from shared.state.jobs import Job, JobStatus
from shared.state.keys import Kind, new_id, newest_first, partition_key
from shared.state.lanes import LEASE_SECONDS, Lanes
from shared.state.markers import MARKER_PARTITIONS, Register, markers_of
from shared.state.table import Row
from shared.state.threads import Thread
from shared.turns.pipeline import TurnCommand
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import SentWakeUp

PARTITION = partition_key(OWNER)


async def add_thread(app: App, services: Services) -> str:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, OWNER, now, now))
    return thread_id


async def submit(services: Services, **fields: Any) -> Job:
    return await services.core.submission.submit(OWNER, SubmitJob(message="Hi", **fields))


async def forgotten(app: App, services: Services, **fields: Any) -> Job:
    """A job for which no worker was woken."""
    app.queues.available = False
    job = await submit(services, **fields)
    app.queues.available = True
    return job


async def marked(app: App) -> list[str]:
    found = [
        await markers_of(app.table, Register.LANES, number) for number in range(MARKER_PARTITIONS)
    ]
    return [marker.lane for markers in found for marker in markers]


@pytest.mark.parametrize("on_a_thread", [True, False])
async def test_a_job_whose_wake_up_was_lost_is_woken(
    app: App, services: Services, on_a_thread: bool
) -> None:
    thread_id = await add_thread(app, services) if on_a_thread else None
    job = await forgotten(app, services, thread_id=thread_id)
    assert await app.services().timers.sweeper.sweep() == 1
    assert app.queues.wake_ups == [SentWakeUp(OWNER, job.lane)]
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    assert (await services.core.jobs.get(OWNER, job.job_id)).status is JobStatus.SUCCEEDED


async def test_storage_that_cannot_be_reached_ends_a_sweep(
    app: App, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forgotten(app, services)

    async def unreachable(partition: str, row_key: str) -> Row | None:
        raise StorageUnavailableError("down")

    monkeypatch.setattr(app.table, "get", unreachable)
    with pytest.raises(StorageUnavailableError, match="down"):
        await app.services().timers.sweeper.sweep()


async def test_a_lane_whose_worker_died_is_woken_once_its_lease_is_over(
    app: App, services: Services
) -> None:
    job = await submit(services)
    app.queues.wake_ups.clear()
    arrived = app.foundry.then_hold(asyncio.Event())
    dying = asyncio.create_task(services.workers.runner.drain(WakeUp(OWNER, job.lane)))
    await arrived.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    survivor = app.services()
    app.clock.advance(LEASE_SECONDS - 1)
    assert await survivor.timers.sweeper.sweep() == 0
    app.clock.advance(1)
    assert await survivor.timers.sweeper.sweep() == 1
    await survivor.workers.runner.drain(WakeUp(OWNER, job.lane))
    assert (await services.core.jobs.get(OWNER, job.job_id)).status is JobStatus.SUCCEEDED


async def test_a_lane_in_use_is_left_alone(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    command = TurnCommand(OWNER, TurnRequest("sync"), 60, thread_id)
    asking = asyncio.create_task(services.core.turns.run(command))
    await arrived.wait()
    await forgotten(app, app.services(), thread_id=thread_id)
    assert await app.services().timers.sweeper.sweep() == 0
    release.set()
    await asking
    assert app.queues.wake_ups == [SentWakeUp(OWNER, thread_id)]


async def test_a_job_of_later_is_woken_later(app: App, services: Services) -> None:
    not_before = app.clock() + timedelta(seconds=100)
    await forgotten(app, services, not_before=not_before)
    assert await services.timers.sweeper.sweep() == 0
    app.clock.advance(100)
    assert await services.timers.sweeper.sweep() == 1


async def test_lanes_that_wait_for_a_moment_are_read_every_few_minutes(
    app: App, services: Services
) -> None:
    jobs = [
        await submit(services, not_before=app.clock() + timedelta(days=1, seconds=number))
        for number in range(20)
    ]
    app.queues.wake_ups.clear()
    await services.timers.sweeper.sweep()
    app.table.reset_counts()
    for _ in range(4):
        app.clock.advance(60)
        await services.timers.sweeper.sweep()
    assert app.table.transactions == 4 * MARKER_PARTITIONS
    app.clock.advance(60)
    await services.timers.sweeper.sweep()
    assert app.table.transactions > 5 * MARKER_PARTITIONS + len(jobs)
    assert app.queues.wake_ups == []


async def test_a_lane_that_was_woken_is_woken_again_ever_more_rarely(
    app: App, services: Services
) -> None:
    await forgotten(app, services)
    woken = []
    for minute in range(1, 21):
        app.clock.advance(60)
        if await app.services().timers.sweeper.sweep():
            woken.append(minute)
    assert woken == [1, 2, 4, 8, 13, 18]


async def test_a_lane_that_was_marked_by_a_clock_ahead_is_woken_at_once(
    app: App, services: Services
) -> None:
    app.clock.advance(120)
    await forgotten(app, services)
    app.clock.advance(-120)
    assert await app.services().timers.sweeper.sweep() == 1


async def test_a_lane_that_is_marked_again_is_looked_at_at_once(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    await forgotten(app, services, thread_id=thread_id)
    app.clock.advance(3600)
    await services.timers.sweeper.sweep()
    await services.workers.runner.drain(WakeUp(OWNER, thread_id))
    app.clock.advance(MAX_POSTPONED.total_seconds())
    await services.timers.sweeper.sweep()
    await forgotten(app, services, thread_id=thread_id)
    assert await app.services().timers.sweeper.sweep() == 1


async def test_a_lane_without_work_is_not_looked_at_again(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    for job in (await submit(services, thread_id=thread_id), await submit(services)):
        await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    app.queues.wake_ups.clear()
    assert len(await marked(app)) == 2
    assert await services.timers.sweeper.sweep() == 0
    assert await marked(app) == []
    app.table.reset_counts()
    await services.timers.sweeper.sweep()
    assert app.table.transactions == MARKER_PARTITIONS
    assert app.queues.wake_ups == []


async def test_a_lane_gets_a_new_mark_with_new_work(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    job = await submit(services, thread_id=thread_id)
    await services.workers.runner.drain(WakeUp(OWNER, thread_id))
    await app.services().timers.sweeper.sweep()
    again = await forgotten(app, services, thread_id=thread_id)
    assert again.job_id != job.job_id
    assert await app.services().timers.sweeper.sweep() == 1


async def test_a_thread_that_is_gone_is_forgotten(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    await submit(services, thread_id=thread_id)
    await services.workers.runner.drain(WakeUp(OWNER, thread_id))
    thread = await services.core.threads.start_removal(OWNER, thread_id)
    await services.core.threads.finish_removal(thread)
    app.clock.advance(MARK_GRACE.total_seconds())
    assert await services.timers.sweeper.sweep() == 0
    assert await marked(app) == []


@pytest.mark.parametrize("step", range(2))
async def test_a_job_that_comes_while_its_lane_is_unmarked_is_not_lost(
    app: App, services: Services, step: int
) -> None:
    thread_id = await add_thread(app, services)
    await submit(services, thread_id=thread_id)
    await services.workers.runner.drain(WakeUp(OWNER, thread_id))
    other = app.services()
    await other.core.threads.get(OWNER, thread_id)

    async def race() -> None:
        await forgotten(app, other, thread_id=thread_id)

    async def nothing() -> None:
        return

    for _ in range(step):
        app.table.before_next_write(nothing)
    app.table.before_next_write(race)
    await services.timers.sweeper.sweep()
    assert len(app.table.rows(PARTITION, "box:")) == 1
    assert await services.timers.sweeper.sweep() == 1


@pytest.mark.parametrize("new_thread", [True, False])
async def test_a_sweep_between_the_mark_and_the_job_does_not_lose_it(
    app: App, services: Services, new_thread: bool
) -> None:
    other = app.services()

    async def sweep_before_the_job() -> None:
        app.table.before_next_write(other.timers.sweeper.sweep)

    app.table.before_next_write(sweep_before_the_job)
    job = await forgotten(app, services, new_thread=new_thread)
    assert len(app.table.rows(PARTITION, "box:")) == 1
    app.clock.advance(LEASE_SECONDS)
    for _ in range(3):
        await other.timers.sweeper.sweep()
    assert SentWakeUp(OWNER, job.lane) in app.queues.wake_ups


async def test_a_turn_that_died_on_a_marked_lane_leaves_it_unsettled(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    await submit(services, thread_id=thread_id)
    await services.workers.runner.drain(WakeUp(OWNER, thread_id))
    row_key = newest_first(thread_id)
    await Lanes(app.table, app.clock).take(OWNER, row_key, "turn_dead")
    app.clock.advance(LEASE_SECONDS)
    await services.timers.sweeper.sweep()
    row = await app.table.get(PARTITION, row_key)
    assert row is not None
    assert row.values.get("unsettled") or row.values.get("lease_holder")


async def test_all_lanes_are_found_however_many(app: App, services: Services) -> None:
    jobs = [await forgotten(app, services) for _ in range(60)]
    assert await services.timers.sweeper.sweep() == 60
    assert {sent.lane for sent in app.queues.wake_ups} == {job.lane for job in jobs}


async def test_a_sweep_without_storage_fails_and_the_next_one_works(
    app: App, services: Services
) -> None:
    await forgotten(app, services)
    app.table.available = False
    with pytest.raises(StorageUnavailableError):
        await services.timers.sweeper.sweep()
    app.table.available = True
    assert await services.timers.sweeper.sweep() == 1


async def test_one_lane_that_cannot_be_read_does_not_hide_the_others(
    app: App, services: Services
) -> None:
    jobs = [await forgotten(app, services) for _ in range(3)]
    row = app.table.partitions[PARTITION].pop(newest_first(jobs[0].job_id))
    assert row
    assert await services.timers.sweeper.sweep() == 2


@pytest.mark.parametrize(("on_a_thread", "writes"), [(True, 2), (False, 1)])
async def test_forgetting_a_lane_costs_no_more_writes_than_it_needs(
    app: App, services: Services, on_a_thread: bool, writes: int
) -> None:
    thread_id = await add_thread(app, services) if on_a_thread else None
    job = await submit(services, thread_id=thread_id)
    await services.workers.runner.receive(WakeUp(OWNER, job.lane).to_body())
    assert await marked(app) == [job.lane]
    app.table.reset_counts()
    await services.timers.sweeper.sweep()
    assert await marked(app) == []
    assert app.table.writes == writes
