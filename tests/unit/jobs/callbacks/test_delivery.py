"""The end of a job is told, at least once and not for ever."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.app import Services
from shared.config import AppSettings, CallbackSettings
from shared.jobs.callbacks.delivery import MAX_ATTEMPTS, PAUSES_SECONDS
from shared.jobs.callbacks.webhooks import MAX_AT_ONCE
from shared.jobs.queue import MAX_MESSAGE_BYTES, Notice, WakeUp
from shared.jobs.requests import SubmitJob
from shared.jobs.sweep import MARK_GRACE
from shared.state.errors import StorageUnavailableError
from shared.state.jobs import Job
from shared.state.outbox import ATTEMPT_SECONDS
from tests.support.app_on_fakes import OWNER, App
from tests.support.receiver import Receiver, receiver
from tests.support.spoiling import spoil

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
DAY = 86_400


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
def app(app: App) -> App:
    """The app with callbacks to this machine and a reply queue."""
    callbacks = CallbackSettings(
        callback_secret=SECRET, loopback_callbacks=True, reply_queues="replies", callback_timeout=1
    )
    foundry = app.settings.foundry
    app.settings = AppSettings(foundry=foundry, callbacks=callbacks)
    return app


async def submit(services: Services, **body: Any) -> Job:
    return await services.core.submission.submit(OWNER, SubmitJob(message="Hi", **body))


async def run(app: App, services: Services, **body: Any) -> tuple[Job, Notice]:
    """A job that has run, and the notice that it has."""
    job = await submit(services, **body)
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    notice, delay = app.queues.notices.pop()
    assert (notice, delay) == (Notice(OWNER, job.job_id), 0)
    return await services.core.jobs.get(OWNER, job.job_id), notice


def markers(app: App) -> int:
    partitions = [name for name in app.table.partitions if name.startswith("$deliveries")]
    return sum(len(app.table.rows(partition)) for partition in partitions)


async def test_the_end_is_told_where_the_job_asked_for_it(
    app: App, services: Services, there: Receiver
) -> None:
    job, notice = await run(
        app, services, callback_url=there.url, reply_queue="replies", metadata={"ticket": "9"}
    )
    assert job.delivery == "pending"
    await services.workers.deliveries.receive(notice.to_body())
    (got,) = there.received
    told = json.loads(got.body)
    assert told["type"] == "job.succeeded"
    assert told["data"]["job_id"] == got.headers["webhook-id"] == job.job_id
    assert told["data"]["result"]["content"] == "You said: Hi"
    assert told["data"]["metadata"] == {"ticket": "9"}
    assert app.queues.replies == [("replies", got.body)]
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "delivered"
    assert markers(app) == 0


async def test_a_notice_that_comes_twice_tells_once(
    app: App, services: Services, there: Receiver
) -> None:
    _, notice = await run(app, services, callback_url=there.url)
    for _ in range(3):
        await services.workers.deliveries.deliver(notice)
    assert len(there.received) == 1


async def test_a_job_that_asks_for_nothing_tells_nobody(app: App, services: Services) -> None:
    app.table.reset_counts()
    job = await submit(services)
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    assert app.queues.notices == []
    assert markers(app) == 0
    assert app.table.rows(OWNER, "out:") == []


@pytest.mark.parametrize("ending", ["failed", "cancelled", "expired"])
async def test_every_end_is_told(
    app: App, services: Services, there: Receiver, ending: str
) -> None:
    more: dict[str, Any] = {"expires_in": 60} if ending == "expired" else {}
    job = await submit(services, callback_url=there.url, **more)
    if ending == "failed":
        app.foundry.then_fail(400, {"code": "content_filter", "message": "no"})
    elif ending == "cancelled":
        await services.core.jobs.cancel(OWNER, job.job_id)
    else:
        app.clock.advance(61)
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    await services.workers.deliveries.deliver(app.queues.notices.pop()[0])
    told = json.loads(there.received[0].body)
    assert told["type"] == f"job.{ending}"
    assert told["data"]["problem"]["code"]


async def test_a_poisoned_job_is_told_as_well(
    app: App, services: Services, there: Receiver
) -> None:
    job = await submit(services, callback_url=there.url)
    await spoil(app, job)
    await services.workers.runner.receive_poison(WakeUp(OWNER, job.lane).to_body())
    await services.workers.deliveries.deliver(app.queues.notices.pop()[0])
    assert json.loads(there.received[0].body)["type"] == "job.failed"


async def test_a_dead_receiver_is_tried_eight_times_within_about_a_day(
    app: App, services: Services, there: Receiver
) -> None:
    job, notice = await run(app, services, callback_url=there.url, reply_queue="replies")
    there.answers = ["500 Oops"] * 20
    waited = 0.0
    pauses: list[float] = []
    while True:
        await services.workers.deliveries.deliver(notice)
        if not app.queues.notices:
            break
        _, pause = app.queues.notices.pop()
        pauses.append(pause)
        app.clock.advance(pause - 3)
        await services.workers.deliveries.deliver(notice)  # comes too early, and is dropped
        assert len(there.received) == len(pauses)
        app.clock.advance(3)
        waited += pause
    assert len(there.received) == MAX_ATTEMPTS == 8
    assert 0.9 * DAY < waited < 1.2 * DAY
    assert all(
        base <= pause <= 1.2 * base for base, pause in zip(PAUSES_SECONDS, pauses, strict=True)
    )
    assert {got.headers["webhook-id"] for got in there.received} == {job.job_id}
    assert len({got.body for got in there.received}) == 1
    assert len(app.queues.replies) == 1
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "failed"
    (row,) = app.table.rows(OWNER, "out:")
    assert row.values["last_error"] == "answered 500"
    assert markers(app) == 0


async def test_410_ends_it(app: App, services: Services, there: Receiver) -> None:
    job, notice = await run(app, services, callback_url=there.url)
    there.answers = ["410 Gone"]
    await services.workers.deliveries.deliver(notice)
    assert app.queues.notices == []
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "failed"


async def test_the_receiver_may_ask_for_more_time(
    app: App, services: Services, there: Receiver
) -> None:
    _, notice = await run(app, services, callback_url=there.url)
    there.answers = ["429 Slow\r\nRetry-After: 400"]
    await services.workers.deliveries.deliver(notice)
    assert app.queues.notices == [(notice, 400)]


async def test_a_host_that_is_not_allowed_any_more_is_not_called(
    app: App, services: Services, there: Receiver
) -> None:
    job, notice = await run(app, services, callback_url=there.url)
    callbacks = CallbackSettings(callback_hosts="elsewhere.example", callback_secret=SECRET)
    app.settings = replace_callbacks(app.settings, callbacks)
    await app.services().workers.deliveries.deliver(notice)
    assert there.connections == 0
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "failed"


def replace_callbacks(settings: AppSettings, callbacks: CallbackSettings) -> AppSettings:
    return settings.model_copy(update={"callbacks": callbacks})


async def test_a_reply_that_does_not_fit_comes_without_answers(
    app: App, services: Services
) -> None:
    job = await services.core.submission.submit(
        OWNER, SubmitJob(message="x" * MAX_MESSAGE_BYTES, reply_queue="replies")
    )
    await services.workers.runner.drain(WakeUp(OWNER, job.lane))
    await services.workers.deliveries.deliver(app.queues.notices.pop()[0])
    ((_, body),) = app.queues.replies
    assert len(body) <= MAX_MESSAGE_BYTES
    data = json.loads(body)["data"]
    assert (data["truncated"], data["result"], data["status"]) == (True, None, "succeeded")


async def test_a_host_with_its_share_waits_without_losing_an_attempt(
    app: App, services: Services, there: Receiver
) -> None:
    there.gate.clear()
    notices = [
        (await run(app, services, callback_url=there.url))[1] for _ in range(MAX_AT_ONCE + 1)
    ]

    async with asyncio.TaskGroup() as group:
        for notice in notices[:-1]:
            group.create_task(services.workers.deliveries.deliver(notice))
        await there.has(MAX_AT_ONCE)
        await services.workers.deliveries.deliver(notices[-1])
        ((waiting, pause),) = app.queues.notices
        assert waiting == notices[-1]
        assert pause >= 5
        there.gate.set()
    await services.workers.deliveries.deliver(notices[-1])
    assert len(there.received) == MAX_AT_ONCE + 1
    rows = app.table.rows(OWNER, "out:")
    assert {row.values["attempts"] for row in rows} == {1}


async def test_a_notice_that_was_never_put_is_found_by_the_sweep(
    app: App, services: Services, there: Receiver
) -> None:
    """The process dies between the commit and the notice."""
    job, notice = await run(app, services, callback_url=there.url)
    assert await services.workers.deliveries.sweep() == 0  # it may still come
    app.clock.advance(61)
    assert await services.workers.deliveries.sweep() == 1
    assert app.queues.notices == [(notice, 0)]
    await services.workers.deliveries.deliver(notice)
    assert len(there.received) == 1
    assert await services.workers.deliveries.sweep() == 0
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "delivered"


async def test_attempts_whose_process_died_count_too(
    app: App, services: Services, there: Receiver
) -> None:
    job, notice = await run(app, services, callback_url=there.url)
    for _ in range(MAX_ATTEMPTS):
        app.table.before_next_write(_let_through)  # counts the attempt
        app.table.fail_next_write()  # and never writes what came of it
        there.answers = ["500 Oops"]
        await services.workers.deliveries.deliver(notice)
        app.queues.notices.clear()
        app.clock.advance(ATTEMPT_SECONDS + 61)
        assert await services.workers.deliveries.sweep() == 1
    app.queues.notices.clear()
    await services.workers.deliveries.deliver(notice)
    assert len(there.received) == MAX_ATTEMPTS
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "failed"
    assert app.queues.notices == []


async def _let_through() -> None:
    """Do nothing before a write."""


async def test_the_marker_of_a_job_that_never_came_to_be_is_forgotten(
    app: App, services: Services
) -> None:
    app.table.before_next_write(_let_through)  # the marker of the delivery
    app.table.before_next_write(_let_through)  # that of the lane
    app.table.fail_next_write()
    with pytest.raises(StorageUnavailableError):
        await submit(services, reply_queue="replies")
    assert markers(app) == 1
    await services.workers.deliveries.sweep()
    assert markers(app) == 1  # it may be about to be written
    app.clock.advance(MARK_GRACE.total_seconds())
    await services.workers.deliveries.sweep()
    assert markers(app) == 0


async def test_the_marker_of_a_waiting_job_stays(app: App, services: Services) -> None:
    await submit(services, reply_queue="replies")
    app.clock.advance(7 * DAY)
    await services.workers.deliveries.sweep()
    assert markers(app) == 1


async def test_storage_that_is_down_does_not_lose_the_end(
    app: App, services: Services, there: Receiver
) -> None:
    _, notice = await run(app, services, callback_url=there.url)
    app.table.available = False
    await services.workers.deliveries.deliver(notice)
    ((again, pause),) = app.queues.notices
    assert again == notice
    app.table.available = True
    app.clock.advance(pause)
    await services.workers.deliveries.deliver(notice)
    assert len(there.received) == 1


async def test_a_notice_that_nobody_can_work_on_ends_the_delivery(
    app: App, services: Services, there: Receiver
) -> None:
    job, notice = await run(app, services, callback_url=there.url)
    await services.workers.deliveries.receive_poison(notice.to_body())
    assert (await services.core.jobs.get(OWNER, job.job_id)).delivery == "failed"
    assert there.connections == 0


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"owner": "x"}', b"null"])
async def test_nonsense_is_thrown_away(app: App, services: Services, body: bytes) -> None:
    await services.workers.deliveries.receive(body)
    await services.workers.deliveries.receive_poison(body)
    assert app.queues.notices == []
