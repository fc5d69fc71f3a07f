"""The public queue: a message becomes one job, or is put away with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.functions import QueueMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.app import Services
from shared.audit.trail import Action, AuditOutcome, AuditRecord
from shared.config import AppSettings, CallbackSettings
from shared.jobs.intake import IntakeMessage
from shared.state.errors import StorageUnavailableError
from shared.state.keys import Kind, is_id, new_id, partition_key
from shared.state.owners import NO_OWNER
from shared.state.rejected import EXCERPT_CHARS, REJECTED_PARTITION
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import SentWakeUp

INSERTED_AT = datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
PARTITION = partition_key(OWNER)


def message(body: object, message_id: str = "m-1") -> IntakeMessage:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return IntakeMessage(message_id, INSERTED_AT, content)


def jobs(app: App) -> list[dict[str, Any]]:
    return [dict(row.values) for row in app.table.rows(PARTITION, "job:")]


async def test_a_message_becomes_a_job(app: App, services: Services) -> None:
    given_message = message({"owner": OWNER, "message": "Hi"})
    await services.workers.intake.receive(given_message)
    job = await services.core.jobs.get(OWNER, given_message.job_id)
    assert job.status == "queued"
    assert app.queues.wake_ups == [SentWakeUp(OWNER, job.job_id)]
    assert app.queues.rejected == []


async def test_a_producer_may_name_the_job(app: App, services: Services) -> None:
    job_id = new_id(Kind.JOB)
    for number in range(2):
        body = {"owner": OWNER, "message": "Hi", "job_id": job_id}
        await services.workers.intake.receive(message(body, f"m-{number}"))
    assert (await services.core.jobs.get(OWNER, job_id)).job_id == job_id
    assert len(jobs(app)) == 1
    assert len(app.table.rows(PARTITION, "box:")) == 1


async def test_a_message_delivered_again_makes_no_second_job(app: App, services: Services) -> None:
    for instance in (services, app.services(), services):
        await instance.workers.intake.receive(message({"owner": OWNER, "message": "Hi"}))
    assert len(jobs(app)) == 1
    assert len(app.queues.wake_ups) == 3


async def test_a_delivery_after_a_lost_answer_makes_no_second_job(
    app: App, services: Services
) -> None:
    app.table.lose_next_answer()
    with pytest.raises(StorageUnavailableError):
        await services.workers.intake.receive(message({"owner": OWNER, "message": "Hi"}))
    await services.workers.intake.receive(message({"owner": OWNER, "message": "Hi"}))
    assert len(jobs(app)) == 1


async def test_a_batch_delivered_again_makes_no_second_thread(app: App, services: Services) -> None:
    for _ in range(2):
        await services.workers.intake.receive(message({"owner": OWNER, "messages": ["a", "b"]}))
    assert len(jobs(app)) == 1
    assert len(app.table.rows(PARTITION, "thread:")) == 1


def test_the_job_id_is_the_messages_own() -> None:
    first = message({})
    assert is_id(Kind.JOB, first.job_id)
    assert first.job_id == message({"other": "body"}).job_id
    assert first.job_id != message({}, "m-2").job_id
    later = IntakeMessage("m-1", INSERTED_AT + timedelta(seconds=1), b"")
    assert later.job_id > first.job_id


def test_it_takes_over_what_the_host_delivers() -> None:
    delivered = QueueMessage(id="m-9", body=b"{}")
    taken = IntakeMessage.of(delivered)
    assert (taken.message_id, taken.body) == ("m-9", b"{}")
    assert taken.inserted_at.tzinfo is not None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "EOF"),
        (b"not json", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "object"),
        ({"message": "Hi"}, "owner: Field required"),
        ({"owner": "", "message": "Hi"}, "owner"),
        ({"owner": OWNER}, "message"),
        ({"owner": OWNER, "message": "Hi", "messages": ["x"]}, "either message or messages"),
        ({"owner": OWNER, "message": "Hi", "colour": "red"}, "colour: Extra inputs"),
        ({"owner": OWNER, "message": "Hi", **dict.fromkeys(map(str, range(5_000)))}, "0: Extra"),
        ({"owner": OWNER, "message": "Hi", "a\nERROR b": "red"}, "a ERROR b: Extra inputs"),
        ({"owner": OWNER, "message": "Hi", "job_id": "mine"}, "job_id"),
        ({"owner": OWNER, "message": "Hi", "thread_id": "thread_x"}, "no such object of yours"),
        ({"owner": OWNER, "messages": ["x" * 800_000]}, "too many"),
    ],
)
async def test_what_cannot_be_a_job_goes_to_poison_with_the_reason(
    app: App, services: Services, body: object, reason: str
) -> None:
    await services.workers.intake.receive(message(body))
    assert app.queues.rejected == [("agent-jobs", message(body).body)]
    (row,) = app.table.rows(REJECTED_PARTITION)
    assert reason in row.values["reason"]
    assert row.values["message_id"] == "m-1"
    assert row.values["rejected_at"] == app.clock()
    assert len(row.values["excerpt"]) <= EXCERPT_CHARS
    assert jobs(app) == []
    assert app.queues.wake_ups == []


async def test_what_is_put_away_is_on_record(app: App, services: Services) -> None:
    await services.workers.intake.receive(
        message({"owner": OWNER, "message": "Hi", "colour": "red"})
    )
    await services.core.audit.aclose()
    (kept,) = app.audit_table.rows(f"{partition_key(NO_OWNER)}!{app.clock().date()}")
    record = AuditRecord.from_row(kept)
    assert (record.action, record.outcome) == (Action.JOB_SUBMIT, AuditOutcome.REFUSED)
    assert (record.subject, record.actor, record.request_id) == ("queue", "agent-jobs", "m-1")


async def test_nothing_is_put_away_while_storage_is_down(app: App, services: Services) -> None:
    app.table.available = False
    for body in ({"owner": OWNER, "message": "Hi"}, b"not json"):
        with pytest.raises(StorageUnavailableError):
            await services.workers.intake.receive(message(body))
    assert app.queues.rejected == []


async def test_a_job_nobody_was_woken_for_is_woken_by_the_next_delivery(
    app: App, services: Services
) -> None:
    app.queues.available = False
    await services.workers.intake.receive(message({"owner": OWNER, "message": "Hi"}))
    app.queues.available = True
    await services.workers.intake.receive(message({"owner": OWNER, "message": "Hi"}))
    assert len(jobs(app)) == len(app.queues.wake_ups) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
async def test_any_message_leaves_the_worker_alive(
    app: App, services: Services, body: bytes
) -> None:
    rejected = len(app.queues.rejected)
    await services.workers.intake.receive(message(body))
    assert len(app.queues.rejected) == rejected + 1


async def test_an_owner_too_long_for_a_key_goes_to_poison(app: App, services: Services) -> None:
    await services.workers.intake.receive(message({"owner": "漢" * 256, "message": "Hi"}))
    assert len(app.queues.rejected) == 1


JOB = new_id(Kind.JOB)
NAMED = {"owner": OWNER, "job_id": JOB}


def notes(app: App) -> list[str]:
    return [row.values["reason"] for row in app.table.rows(REJECTED_PARTITION)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "give either message or messages"),
        ({"message": 5}, "message"),
        ({"message": "Hi", "colour": "red"}, "colour: Extra inputs"),
        ({"message": "Hi", "thread_id": new_id(Kind.THREAD)}, "no such object of yours"),
        ({"message": "Hi", "callback_url": "https://evil.example"}, "CALLBACK_HOSTS"),
    ],
)
async def test_a_rejected_job_that_is_named_has_failed(
    app: App, services: Services, body: dict[str, Any], reason: str
) -> None:
    await services.workers.intake.receive(message({**NAMED, **body}))
    ((_, poison),) = app.queues.rejected
    for _ in range(2):
        await services.workers.intake.receive_poison(message(poison, "m-2"))
    job = await services.core.jobs.get(OWNER, JOB)
    assert (job.status, job.finished_at, job.delivery) == ("failed", app.clock(), None)
    assert job.problem is not None
    assert (job.problem["code"], job.problem["status"]) == ("invalid_request", 422)
    assert reason in job.problem["detail"]
    assert len(notes(app)) == 1


async def test_the_end_of_a_rejected_job_is_told(app: App) -> None:
    app.settings = AppSettings(
        foundry=app.settings.foundry, callbacks=CallbackSettings(reply_queues="replies")
    )
    services = app.services()
    body = {**NAMED, "message": 5, "reply_queue": "replies", "callback_url": "https://evil.example"}
    await services.workers.intake.receive_poison(message(body))
    ((notice, _),) = app.queues.notices
    await services.workers.deliveries.deliver(notice)
    ((queue, reply),) = app.queues.replies
    assert (queue, json.loads(reply)["type"]) == ("replies", "job.failed")
    assert (await services.core.jobs.get(OWNER, JOB)).delivery == "delivered"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        {"owner": OWNER},
        {"owner": 5, "job_id": JOB},
        {"owner": OWNER, "message": "Hi", "thread_id": new_id(Kind.THREAD)},
    ],
)
async def test_what_names_no_job_fails_none(app: App, services: Services, body: object) -> None:
    await services.workers.intake.receive(message(body))
    await services.workers.intake.receive_poison(message(body, "m-2"))
    assert jobs(app) == []
    assert len(notes(app)) == len(app.queues.rejected) == 1


async def test_a_job_that_failed_for_want_of_storage_is_taken_in_from_poison(
    app: App, services: Services
) -> None:
    for _ in range(2):
        await services.workers.intake.receive_poison(message({**NAMED, "message": "Hi"}))
    (job,) = jobs(app)
    assert job["status"] == "queued"
    assert notes(app) == []


async def test_one_without_a_name_is_put_on_record_instead_of_run_twice(
    app: App, services: Services
) -> None:
    await services.workers.intake.receive_poison(message({"owner": OWNER, "message": "Hi"}))
    assert jobs(app) == []
    (reason,) = notes(app)
    assert "names no job_id" in reason


async def test_a_job_that_cannot_be_taken_in_has_failed(app: App, services: Services) -> None:
    async def break_down() -> None:
        raise RuntimeError("a bug")

    app.table.before_next_write(break_down)
    await services.workers.intake.receive_poison(message({**NAMED, "message": "Hi"}))
    job = await services.core.jobs.get(OWNER, JOB)
    assert job.problem is not None
    assert (job.status, job.problem["code"]) == ("failed", "internal_error")
    assert len(notes(app)) == 1


async def test_a_job_that_was_accepted_stays_as_it_is(app: App, services: Services) -> None:
    await services.workers.intake.receive(message({**NAMED, "message": "Hi"}))
    await services.workers.intake.receive_poison(message({**NAMED, "message": 5}))
    assert (await services.core.jobs.get(OWNER, JOB)).status == "queued"
