"""Records go when they have been kept long enough, and not before."""

from __future__ import annotations

import pytest

from shared.app import Services
from shared.config import AppSettings, CallbackSettings, RetentionSettings
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.state.idempotency import KeptAnswer
from shared.state.keys import partition_key
from shared.state.table import Change, Operation
from shared.threads.retention import Retention
from tests.support.app_on_fakes import OWNER, App
from tests.support.calling import caller

DAY = 86_400
KEEP = RetentionSettings(turn_days=90, job_days=30, delivery_days=7)


@pytest.fixture
def app(app: App) -> App:
    callbacks = CallbackSettings(reply_queues="replies")
    app.settings = AppSettings(foundry=app.settings.foundry, callbacks=callbacks, retention=KEEP)
    return app


def kinds(app: App) -> dict[str, int]:
    """How many rows of each kind there are, over all owners."""
    counted: dict[str, int] = {}
    for partition in app.table.partitions:
        if not partition.startswith("$") or partition == "$rejected":
            for row in app.table.rows(partition):
                kind = row.row_key.partition(":")[0]
                counted[kind] = counted.get(kind, 0) + 1
    return counted


async def job(services: Services, **body: object) -> str:
    """Submit a job and return its lane."""
    submitted = SubmitJob.model_validate({"message": "Hi", **body})
    return (await services.core.submission.submit(OWNER, submitted)).lane


async def test_each_kind_has_its_own_time(app: App, services: Services) -> None:
    await services.workers.runner.drain(WakeUp(OWNER, await job(services, reply_queue="replies")))
    await services.workers.deliveries.deliver(app.queues.notices.pop()[0])
    waiting = await job(services)
    async with caller(services) as api:
        await api.post("messages", json={"message": "Hi"}, headers={"Idempotency-Key": "k"})
        await api.post("threads", json={})
    ended = {"asked": 1, "job": 2, "out": 1, "turn": 2}
    everything = {"audit": 4, "box": 1, "idem": 1, "thread": 1, **ended}
    assert kinds(app) == everything
    expected = everything.copy()
    ages = ((0.99, None), (1, "idem"), (7, "out"), (30, "job"), (90, "turn"), (366, "audit"))
    for days, gone in ages:
        app.clock.now = _DAY_ONE
        app.clock.advance(days * DAY)
        await services.timers.retention.run()
        if gone:
            expected[gone] = 1 if gone == "job" else 0
        if gone == "job":
            expected["asked"] = 0
        assert kinds(app) == {kind: number for kind, number in expected.items() if number}
    assert (await services.core.jobs.get(OWNER, waiting)).status == "queued"


_DAY_ONE = App().clock.now


async def test_an_answer_to_a_request_without_a_key_stays_for_minutes(
    app: App, services: Services
) -> None:
    keys = services.web.api.messages.keys
    claim = keys.first_attempt(OWNER, "digest", "digest", None)
    await app.table.write(partition_key(OWNER), [claim.finish(KeptAnswer(200, {}, {}))])
    for minutes, stays in ((14, 1), (2, 0)):
        app.clock.advance(minutes * 60)
        await services.timers.retention.run()
        assert len(app.table.rows(partition_key(OWNER), "idem:")) == stays


async def test_days_of_0_keep_records_for_good(app: App, services: Services) -> None:
    await services.workers.runner.drain(WakeUp(OWNER, await job(services)))
    app.clock.advance(10_000 * DAY)
    forever = RetentionSettings(turn_days=0, job_days=0, delivery_days=0, audit_days=0)
    assert await Retention(app.table, app.clock, forever).run() == 0


async def test_a_job_whose_end_is_not_told_yet_stays(app: App, services: Services) -> None:
    await services.workers.runner.drain(WakeUp(OWNER, await job(services, reply_queue="replies")))
    app.clock.advance(10_000 * DAY)
    await services.timers.retention.run()
    assert kinds(app) == {"job": 1, "out": 1}


async def test_a_key_in_use_stays(app: App, services: Services) -> None:
    await services.web.api.messages.keys.claim(OWNER, "old", "fingerprint")
    app.clock.advance(DAY)
    await services.web.api.messages.keys.claim(OWNER, "old", "fingerprint")  # taken over just now
    assert await services.timers.retention.run() == 0
    app.clock.advance(DAY)
    assert await services.timers.retention.run() == 1


async def test_a_run_is_bounded_and_the_next_goes_on(app: App) -> None:
    bounded = Retention(app.table, app.clock, KEEP, page_rows=10, max_pages=3)
    for number in range(100):
        values = {"created_at": app.clock(), "status": "succeeded"}
        change = Change(Operation.INSERT, f"turn:-:{number:026d}", values)
        await app.table.write(f"owner{number % 7}", [change])
    app.clock.advance(90 * DAY)
    deleted = [await bounded.run() for _ in range(5)]
    assert deleted == [30, 30, 30, 10, 0]


async def test_many_rows_of_one_owner_go_in_few_transactions(app: App, services: Services) -> None:
    values = {"created_at": app.clock(), "status": "succeeded"}
    for first in range(0, 1_000, 100):
        rows = [
            Change(Operation.INSERT, f"turn:-:{number:026d}", values)
            for number in range(first, first + 100)
        ]
        await app.table.write(OWNER, rows)
    app.clock.advance(90 * DAY)
    app.table.reset_counts()
    assert await services.timers.retention.run() == 1_000
    assert app.table.transactions <= 15
