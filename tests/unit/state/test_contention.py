"""Writers that lose again and again give up with an error that says so, and write nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from shared.app import Services
from shared.foundry.models import TurnRequest
from shared.jobs.requests import SubmitJob
from shared.problems import problem_from
from shared.state.contention import MAX_ROUNDS
from shared.state.errors import (
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageContentionError,
)
from shared.state.keys import newest_first, partition_key
from shared.state.lanes import Lanes
from shared.state.table import Change, Row
from shared.state.threads import Thread
from shared.turns.pipeline import TurnCommand
from tests.support.app_on_fakes import OWNER, App
from tests.support.fakes import FakeTable
from tests.support.skipping_time import run_skipping

Attempt = Callable[[Services, str, str], Awaitable[object]]
"""What is tried, given a thread and a job that waits on it."""

PARTITION = partition_key(OWNER)
USED = "thread_01HYYYYYYYYYYYYYYYYYYYYYYY"
"""A thread on which a job waits."""
IDLE = "thread_01HZZZZZZZZZZZZZZZZZZZZZZZ"


class ContendedTable(FakeTable):
    """Once ``contended``, another writer is always a little faster."""

    def __init__(self) -> None:
        super().__init__()
        self.contended = False
        self.refused = 0
        self.kind: type[StateError] = RowChangedError

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        if self.contended and partition == PARTITION:
            self.refused += 1
            raise self.kind("Another writer was faster.")
        return await super().write(partition, changes)


class ForgetfulTable(ContendedTable):
    """A key that is claimed whenever it is written and given up whenever it is read."""

    async def get(self, partition: str, row_key: str) -> Row | None:
        return None if self.contended else await super().get(partition, row_key)


async def _send(services: Services, thread_id: str, _: str) -> None:
    await services.core.turns.run(TurnCommand(OWNER, TurnRequest("Hi"), 30, thread_id=thread_id))


async def _submit(services: Services, thread_id: str, _: str) -> None:
    await services.core.submission.submit(OWNER, SubmitJob(message="Hi", thread_id=thread_id))


async def _cancel(services: Services, _: str, job_id: str) -> None:
    await services.core.jobs.cancel(OWNER, job_id)


async def _merge(services: Services, thread_id: str, _: str) -> None:
    await services.core.threads.merge_metadata(OWNER, thread_id, {"a": "b"})


async def _claim(services: Services, _: str, __: str) -> None:
    await services.web.api.messages.keys.claim(OWNER, "key", "fingerprint")


async def _open_conversation(services: Services, __: str, ___: str) -> None:
    named = TurnCommand(OWNER, TurnRequest("Hi"), 30, conversation_id="mine", orchestrated=True)
    await services.core.turns.run(named)


async def _remove(services: Services, _: str, __: str) -> None:
    await services.core.threads.start_removal(OWNER, IDLE)


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [
        (_send, RowChangedError),
        (_submit, RowChangedError),
        (_cancel, RowMissingError),
        (_merge, RowChangedError),
        (_remove, RowChangedError),
        (_claim, RowExistsError),
        (_open_conversation, RowExistsError),
    ],
)
def test_a_writer_that_always_loses_gives_up(attempt: Attempt, kind: type[StateError]) -> None:
    table = ForgetfulTable() if attempt is _claim else ContendedTable()
    table.kind = kind

    async def lose() -> None:
        app = App(table=table)
        services, now = app.services(), app.clock()
        for thread_id in (USED, IDLE):
            await services.core.threads.add(Thread(thread_id, OWNER, now, now))
        body = SubmitJob(message="Hi", thread_id=USED)
        job = await services.core.submission.submit(OWNER, body)
        before = dict(table.partitions[PARTITION])
        table.contended = True
        with pytest.raises(StorageContentionError) as caught:
            await attempt(services, USED, job.job_id)
        assert table.refused == MAX_ROUNDS
        assert table.partitions[PARTITION] == before
        problem = problem_from(caught.value)
        assert (problem.status, problem.code) == (503, "storage_contention")
        assert problem.retry_after
        table.contended = False
        await app.aclose()

    run_skipping(lose())


def test_a_holder_that_always_loses_keeps_its_lease_for_who_comes_after() -> None:
    table = ContendedTable()

    async def lose() -> None:
        app = App(table=table)
        services, now = app.services(), app.clock()
        thread = Thread(USED, OWNER, now, now)
        await services.core.threads.add(thread)
        lanes, row_key = Lanes(table, app.clock), newest_first(thread.thread_id)
        lease = await lanes.take(OWNER, row_key, "holder")
        table.contended = True
        with pytest.raises(StorageContentionError):
            await lanes.release(lease, {})
        assert table.refused == MAX_ROUNDS
        table.contended = False
        assert (await lanes.read(OWNER, row_key)).values["lease_holder"] == "holder"
        await app.aclose()

    run_skipping(lose())
