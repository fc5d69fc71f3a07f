"""Messages whose senders died: found again wherever they stand in the conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from shared.foundry.models import TurnRequest
from shared.jobs.queue import WakeUp
from shared.state.errors import KeyInUseError
from shared.state.idempotency import HOLD_SECONDS, Claim, KeptAnswer
from shared.state.lanes import LEASE_SECONDS
from shared.turns.pipeline import TurnCommand
from tests.support.fuse import Fuse, Moment, SimulatedCrash
from tests.support.world import OWNER, World, running_world

AT_SENDING = "POST responses"


async def say_once(world: World, thread_id: str, message: str) -> None:
    await world.services.core.turns.run(TurnCommand(OWNER, TurnRequest(message), 60, thread_id))


async def claim(world: World, message: str) -> Claim | KeptAnswer:
    return await world.services.web.api.messages.keys.claim(OWNER, "a key", message)


async def run_claimed(world: World, claimed: Claim, thread_id: str, message: str) -> None:
    command = TurnCommand(OWNER, TurnRequest(message), 60, thread_id, claim=claimed)
    await world.services.core.turns.run(
        command, lambda _: [claimed.finish(KeptAnswer(200, {}, {}))]
    )


async def say_with_key(world: World, thread_id: str, message: str) -> None:
    claimed = await claim(world, message)
    if isinstance(claimed, Claim):
        await run_claimed(world, claimed, thread_id, message)


async def work(world: World, thread_id: str) -> None:
    await world.services.workers.runner.drain(WakeUp(OWNER, thread_id))


Act = Callable[[World], Awaitable[None]]


async def die(world: World, act: Act, moment: Moment = Moment.AFTER) -> None:
    """Do something in a process that dies as it sends its message; then let leases end."""
    world.start_process(Fuse(1, moment, only=AT_SENDING))
    with pytest.raises(SimulatedCrash):
        await act(world)
    world.clock.advance(max(LEASE_SECONDS, HOLD_SECONDS) + 1)
    world.start_process(Fuse())


async def die_saying(world: World, thread_id: str, message: str) -> None:
    await die(world, lambda world: say_once(world, thread_id, message))


async def die_working(world: World, thread_id: str) -> None:
    await die(world, lambda world: work(world, thread_id))


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
        await world.submit("again", "again")
        (thread_id,) = world.threads()
        await die_working(world, thread_id)
        await die_working(world, thread_id)
        await world.settle()
        assert world.said(thread_id) == ["again", "again"]
        assert [job["status"] for job in world.job_rows()] == ["succeeded"]


async def test_a_new_message_is_not_taken_for_an_old_one_that_others_spoke_behind() -> None:
    async with running_world() as world:
        thread_id = await world.add_thread()
        for lost in ("yes", "other"):
            await die_saying(world, thread_id, lost)
        await say_once(world, thread_id, "yes")
        assert world.said(thread_id) == ["yes", "other", "yes"]


async def test_a_lost_message_is_found_behind_one_that_was_found_late() -> None:
    """What stands behind a job's answer that was adopted is not forgotten with that."""
    async with running_world() as world:
        thread_id = await world.add_thread()
        await world.submit("one", thread_id=thread_id)
        await die_working(world, thread_id)
        await die_saying(world, thread_id, "two")
        await world.settle()
        assert world.answered(thread_id) == ["one"]
        await say_once(world, thread_id, "two")
        assert world.said(thread_id) == ["one", "two"]
        assert sorted(world.answered(thread_id)) == ["one", "two"]


Sayer = Callable[[World, str], Awaitable[None]]


async def by_job(world: World, thread_id: str) -> None:
    if not world.boxes():
        await world.submit("yes", thread_id=thread_id)
    await work(world, thread_id)


async def by_key(world: World, thread_id: str) -> None:
    await say_with_key(world, thread_id, "yes")


@pytest.mark.parametrize("say", [by_job, by_key])
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
@pytest.mark.parametrize("between", ["no", "yes"])
async def test_one_that_is_tried_again_after_somebody_elses_turn(
    say: Sayer, moment: Moment, between: str
) -> None:
    """Whether it had arrived or not, and even where the other said the same."""
    async with running_world() as world:
        thread_id = await world.add_thread()
        await say_once(world, thread_id, "hello")
        await die(world, lambda world: say(world, thread_id), moment)
        await say_once(world, thread_id, between)
        await say(world, thread_id)
        arrived = ["yes", between] if moment is Moment.AFTER else [between, "yes"]
        assert world.said(thread_id) == ["hello", *arrived]
        assert sorted(world.answered(thread_id)) == sorted(["hello", "yes", between])
        await say_once(world, thread_id, "bye")
        assert world.said(thread_id) == ["hello", *arrived, "bye"]


async def test_one_that_was_taken_for_dead_does_not_send_what_its_successor_sent() -> None:
    async with running_world() as world:
        thread_id = await world.add_thread()
        slow = await claim(world, "yes")
        assert isinstance(slow, Claim)
        world.clock.advance(HOLD_SECONDS + 1)
        await say_with_key(world, thread_id, "yes")
        with pytest.raises(KeyInUseError):
            await run_claimed(world, slow, thread_id, "yes")
        assert world.said(thread_id) == ["yes"]
