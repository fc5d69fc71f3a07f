"""Accepting jobs: rows first, then a wake-up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.app import Services
from shared.jobs.requests import SubmitJob
from shared.jobs.submission import work_document
from shared.state.errors import (
    DocumentTooLargeError,
    RowMissingError,
    StorageUnavailableError,
)
from shared.state.keys import Kind, new_id, partition_key
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
