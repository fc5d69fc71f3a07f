"""Messages whose senders died: found again wherever they stand in the conversation."""

from __future__ import annotations

import pytest

from shared.foundry.models import TurnRequest
from shared.jobs.queue import WakeUp
from shared.state.lanes import LEASE_SECONDS
from shared.turns import TurnCommand

from .fuse import Fuse, Moment, SimulatedCrash
from .world import OWNER, World, running_world


def dying_after_sending(world: World) -> None:
    """Start a process that dies when Foundry has answered its first message."""
    world.start_process(Fuse(1, Moment.AFTER, only="POST responses"))


async def say_once(world: World, thread_id: str, message: str) -> None:
    await world.services.turns.run(TurnCommand(OWNER, TurnRequest(message), 60, thread_id))


async def die_saying(world: World, thread_id: str, message: str) -> None:
    dying_after_sending(world)
    with pytest.raises(SimulatedCrash):
        await say_once(world, thread_id, message)
    world.clock.advance(LEASE_SECONDS + 1)
    world.start_process(Fuse())


async def die_working(world: World, thread_id: str) -> None:
    dying_after_sending(world)
    with pytest.raises(SimulatedCrash):
        await world.services.runner.drain(WakeUp(OWNER, thread_id))
    world.clock.advance(LEASE_SECONDS + 1)
    world.start_process(Fuse())


async def test_a_message_behind_one_that_was_never_recorded() -> None:
    async with running_world() as world:
        thread_id = await world.add_thread()
        await die_saying(world, thread_id, "lost")
        await world.submit("one", thread_id=thread_id)
        await die_working(world, thread_id)
        await world.settle()
        assert world.said(thread_id) == ["lost", "one"]
        assert world.answered(thread_id) == ["one"]


async def test_a_message_before_one_that_was_recorded_since() -> None:
    """The job's worker died; before the job is tried again, a caller has a turn."""
    async with running_world() as world:
        thread_id = await world.add_thread()
        await world.submit("one", thread_id=thread_id)
        await die_working(world, thread_id)
        await say_once(world, thread_id, "between")
        await world.settle()
        assert world.said(thread_id) == ["one", "between"]
        assert sorted(world.answered(thread_id)) == ["between", "one"]


async def test_a_batch_whose_first_message_equals_its_second() -> None:
    async with running_world() as world:
        job_id = await world.submit("again", "again")
        (thread_id,) = world.threads()
        await die_working(world, thread_id)
        await die_working(world, thread_id)
        await world.settle()
        assert world.said(thread_id) == ["again", "again"]
        assert job_id
