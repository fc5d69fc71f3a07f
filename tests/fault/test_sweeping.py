"""Work that only the sweeper starts, because no request or message does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.world import OWNER, World, running_world


async def submit_for_tomorrow(world: World, **fields: int) -> str:
    not_before = world.clock() + timedelta(days=1)
    job_id = await world.submit("later", not_before=not_before, **fields)
    await world.work(within=60)
    return job_id


async def status(world: World, job_id: str) -> str:
    return (await world.services.core.jobs.get(OWNER, job_id)).status


async def sweep_in(world: World, seconds: float) -> None:
    world.clock.advance(seconds)
    await world.services.timers.sweeper.sweep()
    await world.work(within=60)


async def test_a_job_for_tomorrow_is_left_alone_until_then() -> None:
    async with running_world() as world:
        job_id = await submit_for_tomorrow(world)
        await sweep_in(world, 60)
        assert await status(world, job_id) == "queued"


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_a_job_for_tomorrow_that_will_not_run_ends_today(ending: str) -> None:
    async with running_world() as world:
        job_id = await submit_for_tomorrow(world, expires_in=3600)
        if ending == "cancelled":
            await world.cancel(job_id)
        await sweep_in(world, 60 if ending == "cancelled" else 3600)
        assert await status(world, job_id) == ending
