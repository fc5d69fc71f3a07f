"""Who may run a lane on a worker, who has to wait, and who runs next."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.app import Services
from shared.config import JobSettings
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.jobs.runner import INVOCATION_SECONDS
from shared.jobs.shares import (
    MAX_LANES,
    MAX_PARKED_SECONDS,
    MAX_REMEMBERED,
    MIN_PARKED_SECONDS,
    SLICE_SECONDS,
    Shares,
)
from shared.state.errors import StorageUnavailableError
from shared.state.jobs import Job, JobStatus
from tests.support.app_on_fakes import OWNER, App

SHARE = JobSettings().lanes_per_owner
FOREVER = float("inf")


class Seconds:
    """A monotonic clock that only tests move."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A worker with lanes that run until they are told to end."""

    def __init__(self) -> None:
        self.clock = Seconds()
        self.shares = Shares(SHARE, self.clock)
        self.running: dict[WakeUp, ExitStack] = {}
        self._names = 0

    def wake(self, owner: str, times: int = 1) -> list[WakeUp]:
        """Deliver wake-ups; returns those that run."""
        return [each for _ in range(times) if (each := self._wake(owner)) in self.running]

    def _wake(self, owner: str) -> WakeUp:
        self._names += 1
        wake_up = WakeUp(owner, f"lane-{self._names}")
        if self.shares.admits(owner):
            self.begin(wake_up)
        else:
            self.shares.park(wake_up)
        return wake_up

    def begin(self, wake_up: WakeUp) -> None:
        self.running[wake_up] = stack = ExitStack()
        stack.enter_context(self.shares.running(wake_up))

    def end(self, wake_up: WakeUp) -> WakeUp | None:
        """End a lane and begin the one that takes its place."""
        self.running.pop(wake_up).close()
        if parked := self.shares.next_parked():
            self.begin(parked)
        return parked

    def yield_all(self) -> None:
        """Let every running lane come to the end of a turn, until none has to yield."""
        while yielding := [
            each
            for each in self.running
            if self.shares.must_yield(each.owner, self.clock.now, FOREVER)
        ]:
            self.shares.park(yielding[0])
            self.end(yielding[0])

    def count(self) -> Counter[str]:
        return Counter(wake_up.owner for wake_up in self.running)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_an_owner_alone_has_the_whole_worker(worker: Worker) -> None:
    assert len(worker.wake("a", 400)) == MAX_LANES
    for wake_up in list(worker.running):
        assert not worker.shares.must_yield("a", worker.clock.now, FOREVER)
        assert worker.end(wake_up), "a parked lane takes the place of one that ends"
    assert worker.count() == {"a": MAX_LANES}


def test_another_owner_is_admitted_to_a_full_worker_at_once(worker: Worker) -> None:
    worker.wake("a", 400)
    assert worker.wake("b")
    worker.yield_all()
    assert worker.count() == {"a": MAX_LANES - 1, "b": 1}


def test_two_owners_with_much_to_do_have_half_each(worker: Worker) -> None:
    worker.wake("a", 400)
    assert len(worker.wake("b", 400)) == SHARE
    worker.yield_all()
    assert worker.count() == {"a": MAX_LANES // 2, "b": MAX_LANES // 2}


def test_each_of_very_many_owners_has_a_lane(worker: Worker) -> None:
    for number in range(3 * MAX_LANES):
        assert worker.wake(f"owner-{number}", 5)
    worker.yield_all()
    assert set(worker.count().values()) == {1}


def test_owners_take_turns_and_an_owners_lanes_go_in_order(worker: Worker) -> None:
    for owner in "ab":
        for number in range(3):
            worker.shares.park(WakeUp(owner, str(number)))
    order: list[WakeUp] = []
    while parked := worker.shares.next_parked():
        worker.begin(parked)
        order.append(parked)
    assert order == [WakeUp(owner, str(number)) for number in range(3) for owner in "ab"]


def test_a_long_lane_yields_only_where_another_waits(worker: Worker) -> None:
    worker.wake("a", MAX_LANES)
    started = worker.clock.now
    worker.clock.now += 10 * SLICE_SECONDS
    assert not worker.shares.must_yield("a", started, FOREVER)
    worker.wake("a")
    assert not worker.shares.must_yield("a", started, FOREVER), "only its own owner's lane waits"
    worker.wake("b", SHARE + 1)
    worker.yield_all()
    assert worker.shares.must_yield("a", started, FOREVER)
    assert not worker.shares.must_yield("a", worker.clock.now, FOREVER)


def test_a_lane_yields_when_its_message_has_no_more_time(worker: Worker) -> None:
    worker.wake("a")
    assert worker.shares.must_yield("a", worker.clock.now, worker.clock.now)


def test_a_parked_message_is_hidden_for_about_as_long_as_it_waits(worker: Worker) -> None:
    worker.wake("a", MAX_LANES)
    first = worker.shares.park(WakeUp("a", "first"))
    assert MIN_PARKED_SECONDS <= first <= 1.5 * MIN_PARKED_SECONDS
    for number in range(10 * MAX_REMEMBERED):
        worker.shares.park(WakeUp("a", f"more-{number}"))
    last = worker.shares.park(WakeUp("a", "last"))
    assert first < last <= 1.5 * MAX_PARKED_SECONDS


def test_a_lane_is_hidden_once(worker: Worker) -> None:
    worker.wake("a", MAX_LANES)
    again = WakeUp("a", "again")
    seconds = worker.shares.park(again)
    assert worker.shares.park(again) == 0
    worker.clock.now += seconds
    assert worker.shares.park(again) > 0


def test_the_host_fetches_while_all_lanes_run() -> None:
    queues = json.loads(Path("host.json").read_text())["extensions"]["queues"]
    assert queues["newBatchThreshold"] == 2 * MAX_LANES


def test_a_message_of_the_queue_ends_before_the_host_ends_the_worker() -> None:
    (most,) = [
        each.le for each in JobSettings.model_fields["turn_timeout"].metadata if hasattr(each, "le")
    ]
    minutes = int(json.loads(Path("host.json").read_text())["functionTimeout"].split(":")[1])
    assert most + INVOCATION_SECONDS < minutes * 60


async def _submit(services: Services, *messages: str) -> Job:
    return await services.core.submission.submit(OWNER, SubmitJob(messages=list(messages)))


async def test_a_wake_up_beyond_the_share_goes_back_to_the_queue(
    app: App, services: Services
) -> None:
    job = await _submit(services, "Hi")
    body = WakeUp(OWNER, job.lane).to_body()
    app.queues.wake_ups.clear()
    with ExitStack() as others:
        shares = services.workers.runner.shares
        for number in range(MAX_LANES):
            others.enter_context(shares.running(WakeUp(OWNER, f"lane-{number}")))
        app.queues.available = False
        with pytest.raises(StorageUnavailableError):
            await services.workers.runner.receive(body)
        app.queues.available = True
        await services.workers.runner.receive(body)
        (put,) = app.queues.wake_ups
        assert (put.owner, put.lane) == (OWNER, job.lane)
        assert put.delay_seconds >= MIN_PARKED_SECONDS
        assert (await services.core.jobs.get(OWNER, job.job_id)).status is JobStatus.QUEUED
        await services.workers.runner.receive(body, deliveries=2)
    assert (await services.core.jobs.get(OWNER, job.job_id)).status is JobStatus.SUCCEEDED


async def test_a_lane_that_ends_makes_room_for_one_that_is_parked(
    app: App, services: Services
) -> None:
    first, second = await _submit(services, "one"), await _submit(services, "two", "three")
    with ExitStack() as others:
        for number in range(MAX_LANES):
            others.enter_context(
                services.workers.runner.shares.running(WakeUp(OWNER, f"lane-{number}"))
            )
        await services.workers.runner.receive(WakeUp(OWNER, second.lane).to_body())
    await services.workers.runner.receive(WakeUp(OWNER, first.lane).to_body())
    assert app.foundry.messages == ["one", "two", "three"]
    assert (await services.core.jobs.get(OWNER, second.job_id)).status is JobStatus.SUCCEEDED
