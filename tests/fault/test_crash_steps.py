"""A death or an outage at every single step of a job's way, and nothing is lost or repeated.

Each story has its disasters at steps of their own, so that together they meet every step;
`make torture` has each of them at all steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from shared.foundry.client_calls import CANCELLED, client_tools
from shared.foundry.models import ClientOutput, TurnRequest
from tests.support.fuse import Fuse, Moment
from tests.support.world import PROJECT, REPLIES, RESOURCE, World, running_world

CALL = '/call look {"at": 1}'
LOOK = client_tools([{"type": "function", "name": "look"}])

Story = Callable[[World], Awaitable[None]]

STEPS_APART = int(os.environ.get("CRASH_STEPS_APART", "3"))
"""How far the steps are apart at which one disaster strikes one story."""


async def one_message(world: World) -> None:
    await world.submit("one", thread_id=await world.add_thread())


async def a_batch(world: World) -> None:
    await world.submit("one", "two", "three")


async def without_a_thread(world: World) -> None:
    await world.submit("alone")


async def two_jobs_in_a_row(world: World) -> None:
    thread_id = await world.add_thread()
    await world.submit("one", thread_id=thread_id)
    await world.submit("two", "three", thread_id=thread_id)


async def a_failure_in_between(world: World) -> None:
    thread_id = await world.add_thread()
    await world.submit("one", thread_id=thread_id)
    await world.submit("[[content_filter]]", thread_id=thread_id)
    await world.submit("two", thread_id=thread_id)


async def a_caller_between_jobs(world: World) -> None:
    thread_id = await world.add_thread()
    await world.say(thread_id, "one")
    await world.submit("two", thread_id=thread_id)
    await world.settle()
    await world.say(thread_id, "three")


async def a_caller_with_keys(world: World) -> None:
    thread_id = await world.add_thread()
    await world.say_with_key(thread_id, "one")
    await world.submit("two", thread_id=thread_id)
    await world.settle()
    await world.say_with_key(thread_id, "three")


async def functions_of_the_caller(world: World) -> None:
    thread_id = await world.add_thread()
    await world.send_with_key(thread_id, TurnRequest(CALL, client_tools=LOOK))
    outputs = tuple(ClientOutput(call_id, "seen") for call_id in world.open_calls(thread_id))
    answered = TurnRequest("and?", client_tools=LOOK, outputs=outputs)
    await world.send_with_key(thread_id, answered)
    await world.say(thread_id, "three")
    assert world.outputs(thread_id) == ["seen"]
    assert world.answered(thread_id) == world.said(thread_id) == [CALL, "and?", "three"]


async def a_function_that_nobody_runs(world: World) -> None:
    thread_id = await world.add_thread()
    await world.send_with_key(thread_id, TurnRequest(CALL, client_tools=LOOK))
    await world.submit("two", thread_id=thread_id)
    await world.settle()
    assert world.outputs(thread_id) == [CANCELLED]


async def a_cancelled_job(world: World) -> None:
    thread_id = await world.add_thread()
    await world.submit("one", thread_id=thread_id)
    cancelled = await world.submit("never", thread_id=thread_id)
    await world.submit("two", thread_id=thread_id)
    await world.cancel(cancelled)


async def an_answer_on_a_queue(world: World) -> None:
    await world.submit("one", thread_id=await world.add_thread(), reply_queue=REPLIES)


STORIES: dict[str, tuple[Story, list[str], list[str]]] = {
    "one message": (one_message, ["one"], ["succeeded"]),
    "a batch": (a_batch, ["one", "two", "three"], ["succeeded"]),
    "without a thread": (without_a_thread, [], ["succeeded"]),
    "two jobs": (two_jobs_in_a_row, ["one", "two", "three"], ["succeeded"] * 2),
    "a failure": (a_failure_in_between, ["one", "two"], ["succeeded", "failed", "succeeded"]),
    "a caller": (a_caller_between_jobs, ["one", "two", "three"], ["succeeded"]),
    "keys": (a_caller_with_keys, ["one", "two", "three"], ["succeeded"]),
    "a reply": (an_answer_on_a_queue, ["one"], ["succeeded"]),
    "functions": (functions_of_the_caller, [CALL, "and?", "three"], []),
    "a cancelled call": (a_function_that_nobody_runs, [CALL, "two"], ["succeeded"]),
    "cancelled": (a_cancelled_job, ["one", "two"], ["succeeded", "cancelled", "succeeded"]),
}
"""What happens, what the conversation must hold in the end, and how the jobs must have ended."""


@dataclass(frozen=True)
class Disaster:
    """What goes wrong, and where Foundry is."""

    moment: Moment
    outage: bool
    endpoint: str


DISASTERS = {
    "death before": Disaster(Moment.BEFORE, False, PROJECT),
    "death half-way": Disaster(Moment.HALF_WAY, False, PROJECT),
    "death after": Disaster(Moment.AFTER, False, PROJECT),
    "outage before": Disaster(Moment.BEFORE, True, PROJECT),
    "outage after": Disaster(Moment.AFTER, True, PROJECT),
    "death before, in a chain": Disaster(Moment.BEFORE, False, RESOURCE),
    "death after, in a chain": Disaster(Moment.AFTER, False, RESOURCE),
}


@pytest.mark.parametrize("disaster", DISASTERS)
@pytest.mark.parametrize("story", STORIES)
async def test_at_every_step(story: str, disaster: str) -> None:
    tell, said, ended = STORIES[story]
    strikes = DISASTERS[disaster]
    step = 1 + (list(STORIES).index(story) + list(DISASTERS).index(disaster)) % STEPS_APART
    while True:
        fuse = Fuse(step, strikes.moment, strikes.outage)
        async with running_world(fuse, strikes.endpoint) as world:
            await tell(world)
            await world.settle()
            struck = fuse.blown
            check(world, said, ended, f"step {step}: {fuse.calls[-1]}")
            await world.deliver_what_was_hidden()
            check(world, said, ended, f"step {step}, delivered again: {fuse.calls[-1]}")
        if not struck:
            break
        step += STEPS_APART
    assert len(fuse.calls) >= 5


def check(world: World, said: list[str], ended: list[str], where: str) -> None:
    """The five zeros, and no end of a job that was not told."""
    jobs = sorted(world.job_rows(), key=lambda row: row["sequence"])
    assert [job["status"] for job in jobs] == ended, where
    assert world.boxes() == 0, where
    assert world.untold() == 0, where
    told = {json.loads(reply)["data"]["job_id"] for reply in world.queues.replies}
    assert len(told) == sum("delivery" in job for job in jobs), where
    for thread_id in world.threads():
        assert world.said(thread_id) == said, where
        assert world.answered(thread_id) == said, where
    if world.endpoint == PROJECT:
        assert list(world.said_anywhere().values()) == [1] * len(said), where
