"""Jobs that no worker can run: each fails with a reason, and no other job is affected."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from shared.state.keys import newest_first
from shared.state.table import Change, Operation
from tests.support.world import OWNER, World, problem_code, running_world

JOBS = int(os.environ.get("POISON_JOBS", "200"))
POISONED = JOBS // 10
LANES = 20

Values = dict[str, Any]


def without_work(_: Values) -> Values:
    return {"work_0": b""}


def not_json(_: Values) -> Values:
    return {"work_0": b"{"}


def no_messages(_: Values) -> Values:
    return {"work_0": b'{"messages":[],"options":{}}'}


def options_of_another_version(_: Values) -> Values:
    return {"work_0": b'{"messages":["Hi"],"options":{"voice":"loud"}}'}


POISONS: list[Callable[[Values], Values]] = [
    without_work,
    not_json,
    no_messages,
    options_of_another_version,
]
"""What a box row may hold that no worker can make sense of."""


async def poison(world: World, job_id: str, kind: Callable[[Values], Values]) -> None:
    """Spoil the work of a waiting job."""
    (box,) = [row for row in world.table.rows(OWNER, "box:") if row.values["job_id"] == job_id]
    await world.table.write(OWNER, [Change(Operation.MERGE, box.row_key, kind(dict(box.values)))])


def job(world: World, job_id: str) -> Values:
    return dict(world.table.partitions[OWNER][newest_first(job_id)].values)


@pytest.mark.parametrize("kind", POISONS)
async def test_a_poisoned_job_fails_and_its_lane_moves_on(kind: Callable[[Values], Values]) -> None:
    async with running_world() as world:
        thread_id = await world.add_thread()
        before, bad, after = [
            await world.submit(text, thread_id=thread_id) for text in ("one", "bad", "two")
        ]
        await poison(world, bad, kind)
        await world.settle()
        assert [job(world, key)["status"] for key in (before, bad, after)] == [
            "succeeded",
            "failed",
            "succeeded",
        ]
        assert problem_code(job(world, bad)) == "internal_error"
        assert world.said(thread_id) == ["one", "two"]


@pytest.mark.parametrize("lanes", [LANES, JOBS])
async def test_many_poisoned_jobs_among_good_ones(lanes: int) -> None:
    """Every wake-up of a poisoned lane fails five times; those too many must harm nobody.

    Where each job is a lane of its own, each that is poisoned has a message on the poison queue.
    Where many share one, a message there ends all of its lane.
    """
    async with running_world() as world:
        threads = (
            [await world.add_thread() for _ in range(lanes)] if lanes < JOBS else [None] * JOBS
        )
        jobs = [
            await world.submit(f"job {number}", thread_id=threads[number % lanes])
            for number in range(JOBS)
        ]
        poisoned = [jobs[number * 10 + number % 10] for number in range(POISONED)]
        for number, job_id in enumerate(poisoned):
            await poison(world, job_id, POISONS[number % len(POISONS)])
        await world.settle()
        rows = {job_id: job(world, job_id) for job_id in jobs}
        failed = [job_id for job_id, row in rows.items() if row["status"] == "failed"]
        succeeded = [job_id for job_id, row in rows.items() if row["status"] == "succeeded"]
        assert failed == poisoned
        assert all(problem_code(rows[job_id]) for job_id in failed)
        assert len(succeeded) == JOBS - POISONED
        if lanes == JOBS:
            assert world.queues.poisoned_in_all == POISONED
        print(f"poison: {JOBS} jobs, {len(failed)} failed with a reason, ", end="")  # noqa: T201
        print(f"{len(succeeded)} succeeded, {world.queues.poisoned_in_all} poison messages")  # noqa: T201


async def test_a_wake_up_that_failed_for_want_of_storage_costs_no_job() -> None:
    """A wake-up goes to poison because queues were down; the job at the head is innocent."""
    async with running_world() as world:
        thread_id = await world.add_thread()
        innocent = await world.submit("one", thread_id=thread_id)
        (waiting,) = world.queues.waiting
        world.queues.waiting.clear()
        await world.services.workers.runner.receive_poison(waiting.body)
        await world.settle()
        assert job(world, innocent)["status"] == "succeeded"
