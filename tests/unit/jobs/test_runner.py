"""Running lanes: in order, once each, and past every failure."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.foundry.models import TurnRequest
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.jobs.runner import STORAGE_PAUSE_SECONDS
from shared.state.errors import LaneBusyError, StorageUnavailableError
from shared.state.jobs import Job, JobStatus
from shared.state.keys import Kind, new_id, partition_key
from shared.state.lanes import LEASE_SECONDS
from shared.state.threads import Thread
from shared.turns.pipeline import TurnCommand
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import SentWakeUp
from tests.support.scripted_foundry import message_item, response_body
from tests.support.spoiling import spoil

PARTITION = partition_key(OWNER)
MAX_TRANSACTIONS = 6


async def add_thread(app: App, services: Services) -> str:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, OWNER, now, now))
    return thread_id


async def submit(services: Services, *messages: str, **fields: Any) -> Job:
    return await services.core.submission.submit(
        OWNER, SubmitJob(messages=list(messages), **fields)
    )


async def drain(services: Services, job: Job) -> None:
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))


async def state(services: Services, job: Job) -> Job:
    return await services.core.jobs.get(OWNER, job.job_id)


def turns(app: App) -> list[dict[str, Any]]:
    return [dict(row.values) for row in app.table.rows(PARTITION, "turn:")]


def boxes(app: App) -> int:
    return len(app.table.rows(PARTITION, "box:"))


async def test_a_job_runs_to_its_result(app: App, services: Services) -> None:
    job = await submit(services, "Hi", metadata={"k": "v"}, temperature=0.1)
    assert (job.status, job.thread_id) == (JobStatus.QUEUED, None)
    assert app.queues.wake_ups == [SentWakeUp(OWNER, job.job_id)]
    app.clock.advance(1)
    await drain(services, job)
    done = await state(services, job)
    assert (done.status, done.messages_done) == (JobStatus.SUCCEEDED, 1)
    assert done.started_at == done.finished_at == app.clock()
    (result,) = done.results
    assert result["content"] == "You said: Hi"
    assert result["usage"]["total_tokens"] == 5
    assert not result["truncated"]
    (turn,) = turns(app)
    assert (turn["mode"], turn["job_id"]) == ("job", job.job_id)
    assert app.foundry.sent[0]["temperature"] == 0.1
    assert app.foundry.sent[0]["metadata"] == {"k": "v"}
    assert boxes(app) == 0


async def test_a_batch_runs_in_order_on_one_thread(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", "three")
    assert job.thread_id is not None
    await drain(services, job)
    done = await state(services, job)
    assert done.status is JobStatus.SUCCEEDED
    assert [result["content"][10:] for result in done.results] == ["one", "two", "three"]
    assert app.foundry.messages == ["one", "two", "three"]
    assert app.foundry.sent[2]["previous_response_id"] == "resp_2"
    thread = await services.core.threads.get(OWNER, job.thread_id)
    assert thread.message_count == 3


async def test_jobs_of_a_thread_run_in_the_order_they_came(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    jobs = [await submit(services, f"{n}a", f"{n}b", thread_id=thread_id) for n in range(3)]
    await drain(services, jobs[0])
    assert app.foundry.messages == ["0a", "0b", "1a", "1b", "2a", "2b"]
    for job in jobs:
        assert (await state(services, job)).status is JobStatus.SUCCEEDED
    assert boxes(app) == 0


async def test_a_job_that_comes_while_the_lane_runs_is_run_too(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    first = await submit(services, "one", thread_id=thread_id)
    draining = asyncio.create_task(drain(services, first))
    await arrived.wait()
    second = await submit(app.services(), "two", thread_id=thread_id)
    release.set()
    await draining
    assert (await state(services, second)).status is JobStatus.SUCCEEDED


async def test_a_batch_goes_on_where_a_dead_worker_left_it(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", "three")
    app.foundry.then(app.foundry.answer)
    arrived = app.foundry.then_hold(asyncio.Event())
    dying = asyncio.create_task(drain(services, job))
    await arrived.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    assert (await state(services, job)).messages_done == 1
    survivor = app.services()
    await drain(survivor, job)
    assert app.queues.wake_ups[-1].delay_seconds > 0
    app.clock.advance(app.queues.wake_ups[-1].delay_seconds)
    await drain(survivor, job)
    done = await state(services, job)
    assert (done.status, done.messages_done) == (JobStatus.SUCCEEDED, 3)
    assert [turn["question"] for turn in turns(app)] == ["one", "two", "three"]
    assert app.foundry.messages == ["one", "two", "two", "three"]


async def test_a_failure_ends_its_job_and_the_lane_moves_on(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    first = await submit(services, "one", "never sent", thread_id=thread_id)
    second = await submit(services, "two", thread_id=thread_id)
    app.foundry.then_fail(400, {"code": "content_filter"}, x_request_id="r")
    await drain(services, first)
    failed = await state(services, first)
    assert failed.status is JobStatus.FAILED
    assert failed.finished_at == app.clock()
    assert failed.problem is not None
    assert (failed.problem["code"], failed.problem["status"]) == ("content_filter", 422)
    assert failed.problem["request_id"] == "r"
    assert (await state(services, second)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["one", "two"]


async def test_a_batch_that_fails_midway_keeps_what_it_has(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", "three")
    app.foundry.then(app.foundry.answer)
    app.foundry.then_fail(400, {"code": "content_filter"})
    await drain(services, job)
    failed = await state(services, job)
    assert (failed.status, failed.messages_done) == (JobStatus.FAILED, 1)
    assert [result["content"] for result in failed.results] == ["You said: one"]
    assert app.foundry.messages == ["one", "two"]
    assert boxes(app) == 0


async def test_a_second_wake_up_does_nothing(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    await drain(services, job)
    before = app.table.writes
    await drain(services, job)
    await drain(app.services(), job)
    assert app.table.writes == before
    assert app.foundry.messages == ["Hi"]


async def test_a_wake_up_for_nothing_does_nothing(app: App, services: Services) -> None:
    for lane in (new_id(Kind.THREAD), new_id(Kind.JOB), "x", ""):
        await services.workers.runner.drain(WakeUp(OWNER, lane))
    assert app.foundry.calls == []
    assert app.queues.wake_ups == []


async def test_a_lane_in_use_is_looked_at_again_when_its_lease_ends(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    command = TurnCommand(OWNER, TurnRequest("sync"), 60, thread_id)
    asking = asyncio.create_task(services.core.turns.run(command))
    await arrived.wait()
    job = await submit(services, "job", thread_id=thread_id)
    app.queues.wake_ups.clear()
    await drain(app.services(), job)
    assert app.queues.wake_ups == [SentWakeUp(OWNER, thread_id, LEASE_SECONDS)]
    release.set()
    await asking
    assert app.queues.wake_ups[1:] == [SentWakeUp(OWNER, thread_id)]
    await drain(app.services(), job)
    assert app.foundry.messages == ["sync", "job"]


async def test_two_workers_run_each_message_once(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    jobs = [await submit(services, f"{n}", thread_id=thread_id) for n in range(5)]
    workers = [app.services() for _ in range(4)]
    await asyncio.gather(*(drain(worker, jobs[0]) for worker in workers))
    assert app.foundry.messages == ["0", "1", "2", "3", "4"]
    assert len(turns(app)) == 5


async def test_a_worker_that_was_passed_leaves_no_trace(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    slow = asyncio.create_task(drain(services, job))
    await arrived.wait()
    app.clock.advance(LEASE_SECONDS)
    await drain(app.services(), job)
    release.set()
    await slow
    assert len(turns(app)) == 1
    assert len((await state(services, job)).results) == 1


async def test_an_outage_leaves_the_job_for_a_later_wake_up(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    app.table.fail_next_write()
    await drain(services, job)
    (again,) = app.queues.wake_ups[1:]
    assert again == SentWakeUp(OWNER, job.lane, again.delay_seconds)
    assert 0.5 <= again.delay_seconds / STORAGE_PAUSE_SECONDS <= 1.5
    assert (await state(services, job)).status is JobStatus.QUEUED
    await drain(services, job)
    assert (await state(services, job)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["Hi"]


async def test_a_job_of_its_own_costs_six_transactions_from_submission_to_end(
    app: App, services: Services
) -> None:
    app.table.reset_counts()
    job = await submit(services, "Hi")
    await drain(app.services(), job)
    assert app.table.transactions <= MAX_TRANSACTIONS


async def test_a_job_on_a_thread_costs_six_transactions_from_submission_to_end(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    app.table.reset_counts()
    job = await submit(services, "Hi", thread_id=thread_id)
    await drain(services, job)
    assert app.table.transactions <= MAX_TRANSACTIONS


async def test_a_batch_wakes_only_one_worker(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", "three")
    await drain(services, job)
    assert len(app.queues.wake_ups) == 1


async def test_an_answer_full_of_line_breaks_fits(app: App, services: Services) -> None:
    output = [message_item("\n" * 400_000)]
    app.foundry.then(httpx.Response(200, json=response_body(output=output)))
    job = await submit(services, "Hi")
    await asyncio.gather(drain(services, job), return_exceptions=True)
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def test_a_failure_that_may_pass_is_tried_again_later(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    job = await submit(services, "one", thread_id=thread_id)
    behind = await submit(services, "two", thread_id=thread_id)
    app.foundry.then_fail(500, {"code": "server_error"})
    app.queues.wake_ups.clear()
    await drain(services, job)
    waiting = await state(services, job)
    assert (waiting.status, waiting.attempts) == (JobStatus.RUNNING, 1)
    assert waiting.problem is None
    assert [failure["code"] for failure in waiting.failures] == ["service_unavailable"]
    ((later),) = app.queues.wake_ups
    assert 2.5 <= later.delay_seconds <= 5
    assert app.foundry.messages == ["one"]
    app.clock.advance(later.delay_seconds)
    await drain(services, job)
    for each in (job, behind):
        assert (await state(services, each)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["one", "one", "two"]
    assert boxes(app) == 0


async def test_a_retry_keeps_what_the_batch_has(app: App, services: Services) -> None:
    job = await submit(services, "one", "two")
    app.foundry.then(app.foundry.answer)
    app.foundry.then_fail(429, retry_after="90")
    await drain(services, job)
    assert app.queues.wake_ups[-1].delay_seconds == 90
    app.clock.advance(90)
    await drain(app.services(), job)
    done = await state(services, job)
    assert [result["content"] for result in done.results] == ["You said: one", "You said: two"]
    assert app.foundry.messages == ["one", "two", "two"]


async def test_attempts_come_to_an_end(app: App, services: Services) -> None:
    job = await submit(services, "Hi", max_attempts=3)
    delays: list[float] = []
    for _ in range(3):
        app.foundry.then_fail(503)
        app.queues.wake_ups.clear()
        await drain(services, job)
        delays += [sent.delay_seconds for sent in app.queues.wake_ups]
        app.clock.advance(delays[-1])
    failed = await state(services, job)
    assert (failed.status, failed.attempts) == (JobStatus.FAILED, 3)
    assert [failure["code"] for failure in failed.failures] == ["service_unavailable"] * 3
    assert failed.problem is not None
    assert delays[0] <= 5 <= delays[1] <= 10
    assert len(app.foundry.messages) == 3
    assert boxes(app) == 0
    assert [turn["status"] for turn in turns(app)] == ["failed"] * 3


async def test_each_message_of_a_batch_has_its_own_attempts(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", max_attempts=2)
    for _ in range(2):
        app.foundry.then_fail(503)
        app.foundry.then(app.foundry.answer)
    for _ in range(3):
        await drain(services, job)
        app.clock.advance(10)
    done = await state(services, job)
    assert (done.status, done.attempts, done.problem) == (JobStatus.SUCCEEDED, 2, None)
    assert [failure["message"] for failure in done.failures] == [0, 1]


async def test_a_job_cancelled_before_it_starts_never_runs(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    job = await submit(services, "one", thread_id=thread_id)
    behind = await submit(services, "two", thread_id=thread_id)
    assert (await services.core.jobs.cancel(OWNER, job.job_id)).cancel_requested
    await drain(services, job)
    cancelled = await state(services, job)
    assert (cancelled.status, cancelled.finished_at) == (JobStatus.CANCELLED, app.clock())
    assert cancelled.problem is not None
    assert cancelled.problem["code"] == "cancelled"
    assert (await state(services, behind)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["two"]


async def test_a_running_job_stops_before_its_next_message(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", "three")
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    draining = asyncio.create_task(drain(services, job))
    await arrived.wait()
    await app.services().core.jobs.cancel(OWNER, job.job_id)
    release.set()
    await draining
    cancelled = await state(services, job)
    assert (cancelled.status, cancelled.messages_done) == (JobStatus.CANCELLED, 1)
    assert app.foundry.messages == ["one"]
    assert boxes(app) == 0


async def test_a_cancel_just_before_the_start_wins(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    app.table.before_next_write(lambda: services.core.jobs.cancel(OWNER, job.job_id))
    await drain(services, job)
    assert (await state(services, job)).status is JobStatus.CANCELLED
    assert app.foundry.messages == []


async def test_a_job_that_waits_for_its_next_attempt_can_be_cancelled(
    app: App, services: Services
) -> None:
    job = await submit(services, "Hi")
    app.foundry.then_fail(503)
    await drain(services, job)
    await services.core.jobs.cancel(OWNER, job.job_id)
    await drain(services, job)
    assert (await state(services, job)).status is JobStatus.CANCELLED
    assert len(app.foundry.messages) == 1


async def test_a_job_nobody_wants_any_more_does_not_run(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    job = await submit(services, "one", thread_id=thread_id, expires_in=60)
    behind = await submit(services, "two", thread_id=thread_id)
    app.clock.advance(60)
    await drain(services, job)
    expired = await state(services, job)
    assert expired.status is JobStatus.EXPIRED
    assert expired.problem is not None
    assert expired.problem["code"] == "expired"
    assert (await state(services, behind)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["two"]


async def test_a_job_that_has_begun_does_not_expire(app: App, services: Services) -> None:
    job = await submit(services, "one", "two", expires_in=60)
    app.foundry.then_fail(503)
    await drain(services, job)
    app.clock.advance(61)
    await drain(services, job)
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def test_a_job_whose_first_worker_died_has_begun(app: App, services: Services) -> None:
    job = await submit(services, "Hi", expires_in=30)
    await die_while_running(app, services, job)
    app.clock.advance(LEASE_SECONDS)
    await drain(app.services(), job)
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def die_while_running(app: App, services: Services, job: Job) -> None:
    """A worker takes the job, sends its message, and is gone."""
    arrived = app.foundry.then_hold(asyncio.Event())
    dying = asyncio.create_task(drain(services, job))
    await arrived.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying


async def test_a_job_of_tomorrow_is_looked_at_tomorrow(app: App, services: Services) -> None:
    not_before = app.clock() + timedelta(days=1)
    job = await submit(services, "Hi", not_before=not_before)
    await drain(services, job)
    assert app.queues.wake_ups == [SentWakeUp(OWNER, job.lane, 86_400)] * 2
    assert app.foundry.messages == []
    app.clock.advance(86_400)
    await drain(services, job)
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def test_a_failure_may_stop_its_lane(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    first = await submit(services, "one", thread_id=thread_id, stop_lane_on_failure=True)
    behind = [await submit(services, f"{n}", thread_id=thread_id) for n in range(2)]
    app.foundry.then_fail(400, {"code": "content_filter"})
    await drain(services, first)
    assert (await state(services, first)).status is JobStatus.FAILED
    for job in behind:
        stopped = await state(services, job)
        assert stopped.status is JobStatus.CANCELLED
        assert stopped.problem is not None
        assert stopped.problem["code"] == "lane_stopped"
    app.clock.advance(1)
    later = await submit(services, "later", thread_id=thread_id)
    await drain(services, later)
    assert (await state(services, later)).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["one", "later"]
    assert boxes(app) == 0


async def test_a_job_that_came_while_its_lane_failed_waits_behind_it_as_well(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    first = await submit(services, "one", thread_id=thread_id, stop_lane_on_failure=True)
    release = asyncio.Event()

    async def refuse(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(400, json={"error": {"code": "content_filter"}})

    app.foundry.then(refuse)
    draining = asyncio.create_task(drain(services, first))
    while not app.foundry.messages:
        await asyncio.sleep(0)
    behind = await submit(app.services(), "two", thread_id=thread_id)
    release.set()
    await draining
    assert (await state(services, behind)).status is JobStatus.CANCELLED


async def test_a_success_or_a_cancel_does_not_stop_the_lane(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    fields: dict[str, Any] = {"thread_id": thread_id, "stop_lane_on_failure": True}
    jobs = [await submit(services, f"{n}", **fields) for n in range(3)]
    await services.core.jobs.cancel(OWNER, jobs[1].job_id)
    await drain(services, jobs[0])
    assert app.foundry.messages == ["0", "2"]


async def test_a_lane_without_storage_or_queue_is_the_queues_to_repeat(
    app: App, services: Services
) -> None:
    job = await submit(services, "Hi")
    app.table.available = app.queues.available = False
    with pytest.raises(StorageUnavailableError):
        await drain(services, job)


async def test_a_message_that_is_no_wake_up_goes_to_poison(app: App, services: Services) -> None:
    await services.workers.runner.receive(b"\xff")
    assert app.queues.rejected == [(app.settings.jobs.lanes_queue, b"\xff")]
    await services.workers.runner.receive_poison(b"\xff")
    assert len(app.queues.rejected) == 1


async def test_a_message_of_the_queue_runs_its_lane(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    await services.workers.runner.receive(WakeUp(OWNER, job.lane).to_body())
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def test_a_poisonous_head_ends_and_the_lane_moves_on(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    jobs = [await submit(services, f"{n}", thread_id=thread_id) for n in range(2)]
    await spoil(app, jobs[0])
    await services.workers.runner.receive_poison(WakeUp(OWNER, thread_id).to_body())
    poisonous = await state(services, jobs[0])
    assert poisonous.status is JobStatus.FAILED
    assert poisonous.problem is not None
    assert poisonous.problem["code"] == "internal_error"
    assert (await state(services, jobs[1])).status is JobStatus.SUCCEEDED
    assert app.foundry.messages == ["1"]


async def test_a_head_that_moves_meanwhile_is_found_again(app: App, services: Services) -> None:
    thread_id = await add_thread(app, services)
    jobs = [await submit(services, f"{n}", thread_id=thread_id) for n in range(2)]
    await spoil(app, jobs[0])
    app.table.before_next_write(lambda: submit(app.services(), "2", thread_id=thread_id))
    await services.workers.runner.receive_poison(WakeUp(OWNER, thread_id).to_body())
    statuses = [(await state(services, job)).status for job in jobs]
    assert statuses == [JobStatus.FAILED, JobStatus.SUCCEEDED]
    assert app.foundry.messages == ["1", "2"]


async def test_poison_for_an_empty_lane_is_harmless(app: App, services: Services) -> None:
    job = await submit(services, "Hi")
    await drain(services, job)
    await services.workers.runner.receive_poison(WakeUp(OWNER, job.lane).to_body())
    assert (await state(services, job)).status is JobStatus.SUCCEEDED


async def test_what_a_dead_worker_left_is_looked_at_before_the_next_message(
    project: tuple[App, Services],
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    await services.core.turns.run(TurnCommand(OWNER, TurnRequest("zero"), 60, thread_id))
    job = await submit(services, "one", thread_id=thread_id)
    await die_after_sending(app, services, job)
    app.clock.advance(LEASE_SECONDS)
    await drain(app.services(), job)
    done = await state(services, job)
    assert [result["content"] for result in done.results] == ["You said: one"]
    assert app.foundry.messages == ["zero", "one"]
    thread = await services.core.threads.get(OWNER, thread_id)
    assert (thread.message_count, thread.unsettled) == (2, False)


async def die_after_sending(app: App, services: Services, job: Job) -> None:
    """The worker dies between Foundry's answer and its own commit."""

    async def die() -> None:
        raise asyncio.CancelledError

    async def before_the_commit() -> None:
        app.table.before_next_write(die)

    app.table.before_next_write(before_the_commit)
    with pytest.raises(asyncio.CancelledError):
        await drain(services, job)


@pytest.mark.parametrize("ending", ["cancelled", "expired", "failed"])
async def test_a_job_that_ends_after_its_worker_died_leaves_the_thread_unsettled(
    project: tuple[App, Services], ending: str
) -> None:
    app, services = project
    thread_id = await add_thread(app, services)
    job = await submit(services, "one", thread_id=thread_id, expires_in=30)
    await die_while_running(app, services, job)
    app.clock.advance(LEASE_SECONDS)
    other = app.services()
    if ending == "cancelled":
        await other.core.jobs.cancel(OWNER, job.job_id)
    if ending == "failed":
        await spoil(app, job)
        await other.workers.runner.receive_poison(WakeUp(OWNER, thread_id).to_body())
    await drain(other, job)
    if (await state(services, job)).status is not JobStatus.SUCCEEDED:
        assert (await services.core.threads.get(OWNER, thread_id)).unsettled


async def test_a_thread_that_a_job_waits_on_says_which_and_until_when(
    app: App, services: Services
) -> None:
    thread_id = await add_thread(app, services)
    waits = SubmitJob(
        message="Hi", thread_id=thread_id, not_before=datetime(8000, 1, 1, tzinfo=UTC)
    )
    job = await services.core.submission.submit(OWNER, waits)
    with pytest.raises(LaneBusyError, match=rf"{job.job_id} .* not before 8000-01-01T") as error:
        await services.core.threads.start_removal(OWNER, thread_id)
    assert error.value.retry_after == 86_400
