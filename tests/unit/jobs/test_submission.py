"""Accepting jobs: rows first, then a wake-up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.app import Services
from shared.jobs.queue import WakeUp
from shared.jobs.requests import ConversationJob, SubmitJob
from shared.jobs.submission import work_document
from shared.problems import ProblemError
from shared.state.errors import (
    DocumentTooLargeError,
    RowMissingError,
    StorageUnavailableError,
)
from shared.state.keys import Kind, new_id, partition_key
from shared.state.mailbox import read_work
from shared.state.threads import Thread
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import SentWakeUp

PARTITION = partition_key(OWNER)


def body(**fields: Any) -> SubmitJob:
    return SubmitJob.model_validate({"message": "Hi", **fields})


async def test_one_message_needs_no_thread(app: App, services: Services) -> None:
    job = await services.core.submission.submit(OWNER, body())
    assert job.thread_id is None
    assert app.table.rows(PARTITION, "thread:") == []


@pytest.mark.parametrize(
    "fields", [{"new_thread": True}, {"message": None, "messages": ["a", "b"]}]
)
async def test_a_new_thread_gets_the_jobs_metadata(
    app: App, services: Services, fields: dict[str, Any]
) -> None:
    job = await services.core.submission.submit(OWNER, body(metadata={"k": "v"}, **fields))
    assert job.thread_id is not None
    thread = await services.core.threads.get(OWNER, job.thread_id)
    assert thread.metadata == {"k": "v"}
    assert app.queues.wake_ups == [SentWakeUp(OWNER, job.thread_id)]
    assert app.foundry.calls == []


async def test_a_thread_of_somebody_else_is_none(app: App, services: Services) -> None:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, "somebody", now, now))
    for named in (thread_id, new_id(Kind.THREAD), "thread_x", ""):
        with pytest.raises(RowMissingError):
            await services.core.submission.submit(OWNER, body(thread_id=named))
    assert app.table.rows(PARTITION) == []
    assert app.queues.wake_ups == []


async def test_nobody_is_woken_for_a_job_that_was_not_kept(app: App, services: Services) -> None:
    app.table.fail_next_write()
    with pytest.raises(StorageUnavailableError):
        await services.core.submission.submit(OWNER, body())
    assert app.queues.wake_ups == []


async def test_work_too_large_leaves_nothing(app: App, services: Services) -> None:
    too_much = body(message=None, messages=["x" * 400_000] * 2)
    with pytest.raises(DocumentTooLargeError):
        await services.core.submission.submit(OWNER, too_much)
    assert app.table.rows(PARTITION) == []


async def test_jobs_submitted_at_the_same_time_are_all_accepted(
    app: App, services: Services
) -> None:
    now, thread_id = app.clock(), new_id(Kind.THREAD)
    await services.core.threads.add(Thread(thread_id, OWNER, now, now))
    await asyncio.gather(
        *(services.core.submission.submit(OWNER, body(thread_id=thread_id)) for _ in range(5))
    )
    assert len(app.table.rows(PARTITION, "box:")) == 5


def test_work_keeps_only_what_was_asked_for() -> None:
    assert work_document(body()) == {"messages": ["Hi"], "options": {}}
    given = body(temperature=0.0, domain="sales", metadata={"k": "v"}, new_thread=True)
    assert work_document(given)["options"] == {
        "temperature": 0.0,
        "domain": "sales",
        "metadata": {"k": "v"},
    }


def conversation(conversation_id: str = "mine", **fields: Any) -> ConversationJob:
    given = {"message": "Hi", "conversation_id": conversation_id, **fields}
    return ConversationJob.model_validate(given)


async def test_a_job_runs_on_the_thread_of_its_conversation(app: App, services: Services) -> None:
    submission = services.core.submission
    first = await submission.submit(OWNER, conversation())
    again = await app.services().core.submission.submit(OWNER, conversation())
    other = await submission.submit(OWNER, conversation("another"))
    assert first.thread_id is not None
    assert (first.thread_id, first.lane) == (again.thread_id, again.lane)
    assert other.thread_id not in {first.thread_id, None}
    assert len(app.table.rows(PARTITION, "thread:")) == 2
    (box, *_) = app.table.rows(PARTITION, f"box:{first.thread_id}")
    assert read_work(box)["orchestrated"] is True


async def test_a_conversation_whose_thread_is_gone_gets_a_new_one(
    app: App, services: Services
) -> None:
    gone = await services.core.submission.submit(OWNER, conversation())
    elsewhere = app.services()
    removal = elsewhere.timers.removal
    await elsewhere.workers.runner.drain(WakeUp(OWNER, gone.lane))
    await removal.remove(OWNER, gone.lane)
    job = await services.core.submission.submit(OWNER, conversation())
    assert job.thread_id not in {gone.thread_id, None}
    assert (await services.core.threads.get(OWNER, job.lane)).thread_id == job.thread_id


async def test_a_refused_message_of_a_conversation_leaves_nothing(
    app: App, services: Services
) -> None:
    with pytest.raises(ProblemError):
        await services.core.submission.submit(OWNER, conversation(model="not allowed"))
    assert app.table.rows(PARTITION) == []
