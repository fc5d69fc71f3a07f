"""What a turn costs in storage, counted between the app and Table Storage."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import pytest

from local.azurite import connection_string
from local.services import Azurite, FoundryEmulator
from tests.support.asking import ended, say, submit
from tests.support.served import Deployment
from tests.support.storage_meter import StorageMeter
from tests.support.waiting import eventually

NO_TIMERS = {
    f"AzureWebJobs.{timer}.Disabled": "true"
    for timer in ("sweep_lanes", "sweep_deliveries", "expire_threads", "delete_old_records")
}
"""What they read once a minute or less often is no cost of a turn or a job."""


@dataclass(frozen=True)
class Metered:
    """An app whose calls of Table Storage are counted."""

    caller: httpx.AsyncClient
    meter: StorageMeter
    queues: StorageMeter
    deployment: Deployment

    def start_count(self) -> None:
        """Forget what was counted."""
        self.meter.transactions.clear()
        self.queues.transactions.clear()

    async def is_at_rest(self) -> bool:
        """Whether no lane has work and no worker is on one."""
        return await self.deployment.depth(self.deployment.lanes) == 0

    async def new_thread(self) -> str:
        """A thread whose audit record is stored, which the app does in the background."""
        thread_id = (await self.caller.post("threads")).json()["thread_id"]

        async def is_on_record() -> bool:
            return thread_id in repr(await self.deployment.audit_records())

        await eventually(is_on_record)
        return thread_id

    @property
    def counted(self) -> list[str]:
        """What was sent since to the table of threads, turns and jobs."""
        others = (self.deployment.audit, self.deployment.metrics)
        return [sent for sent in self.meter.transactions if not any(o in sent for o in others)]

    @property
    def queued(self) -> int:
        """Messages put, and messages deleted because they were done, since."""
        sent = [each.partition(" ") for each in self.queues.transactions]
        return sum(method in {"POST", "DELETE"} and "/messages" in path for method, _, path in sent)

    @property
    def audited(self) -> list[str]:
        """What was sent to the audit trail since."""
        return [sent for sent in self.meter.transactions if self.deployment.audit in sent]


@pytest.fixture(scope="module")
async def metered(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Metered]:
    """An app that has made its table already."""
    async with (
        StorageMeter(azurite.ports.table).running() as meter,
        StorageMeter(azurite.ports.queue).running() as queues,
    ):
        ports = replace(azurite.ports, table=meter.port, queue=queues.port)
        storage = connection_string(ports)
        deployment = Deployment(storage, foundry)
        with deployment.serve(tmp_path_factory.mktemp("metered"), **NO_TIMERS) as host:
            async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
                await ended(caller, await submit(caller, message="Make the table."))
                metered = Metered(caller, meter, queues, deployment)
                await metered.new_thread()  # what was read before it is in the audit table by now
                yield metered


async def test_a_turn_without_a_thread_is_one_transaction(metered: Metered) -> None:
    metered.start_count()
    (await metered.caller.post("messages", json={"message": "Hi"})).raise_for_status()
    assert len(metered.counted) == 1, metered.counted
    assert metered.audited == []


async def test_a_turn_on_a_thread_is_two_however_long_the_conversation(metered: Metered) -> None:
    thread_id = await metered.new_thread()
    for _ in range(12):
        metered.start_count()
        await say(metered.caller, thread_id, "And then?")
        assert len(metered.counted) == 2, metered.counted
        assert metered.audited == []


@pytest.mark.parametrize("on_a_thread", [False, True])
async def test_a_job_is_at_most_six(metered: Metered, on_a_thread: bool) -> None:
    body = {"message": "Hi"}
    if on_a_thread:
        body["thread_id"] = await metered.new_thread()
    await eventually(metered.is_at_rest)
    metered.start_count()
    job_id = await submit(metered.caller, **body)
    await eventually(metered.is_at_rest)
    counted, queued = metered.counted, metered.queued
    assert (
        metered.audited == []
    )  # that it was submitted, and its turn, are in the same transactions
    assert (await metered.caller.get(f"jobs/{job_id}")).json()["status"] == "succeeded"
    assert len(counted) <= 6, counted
    assert queued == 2  # the wake-up, put and deleted
    print(  # noqa: T201 - a figure
        f"storage: a job {'on a thread' if on_a_thread else 'without'}: {len(counted)} table "
        f"transactions, {queued} queue messages put or deleted"
    )
