"""Erasing an owner: who may, what goes, and what is not touched."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableClient

from local.services import Azurite, FoundryEmulator
from tests.support.asking import ended, say, submit
from tests.support.callers import ACCESS, ADMIN, FUNCTION_KEY, TENANT, known
from tests.support.served import Deployment, EmulatorControl
from tests.support.serving import serve
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Served:
    """The app for callers whom Entra knows."""

    deployment: Deployment
    url: str

    def caller(self, subject: str, *roles: str) -> httpx.AsyncClient:
        """A client of a caller."""
        headers = {**known(TENANT, subject, *roles), "x-functions-key": FUNCTION_KEY}
        return httpx.AsyncClient(base_url=f"{self.url}/api/", headers=headers, timeout=30)

    async def rows_with(self, text: str) -> set[tuple[str, str]]:
        """Which rows hold a text, as their table's kind and how their partition begins."""
        tables = {
            "state": self.deployment.table,
            "audit": self.deployment.audit,
            "metrics": self.deployment.metrics,
        }
        found: set[tuple[str, str]] = set()
        for kind, name in tables.items():
            async with TableClient.from_connection_string(self.deployment.storage, name) as client:
                try:
                    rows = [row async for row in client.list_entities()]
                except ResourceNotFoundError:  # nothing was ever written to it
                    continue
            for row in rows:
                if text in repr(dict(row)):
                    partition = str(row["PartitionKey"])
                    is_record = str(row["RowKey"]).startswith("audit:")
                    place = partition if partition[0] == "$" else "owner"
                    found.add(("audit" if is_record else kind, place))
        return found


@pytest.fixture(scope="module")
async def served(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    deployment = Deployment(azurite.connection_string, foundry)
    settings = {**ACCESS, "AUTH_MODE": "entra"}
    with serve(deployment, tmp_path_factory.mktemp("erasing"), settings) as host:
        yield Served(deployment, host.url)


@pytest.fixture
async def emulator(foundry: FoundryEmulator) -> AsyncIterator[EmulatorControl]:
    control = EmulatorControl(foundry)
    yield control
    await control.clear_faults()
    await control.aclose()


async def live(served: Served, subject: str) -> str:
    """Do all that leaves rows; returns the word that was said."""
    said = f"pear{uuid.uuid4().hex[:8]}"
    async with served.caller(subject) as caller:
        key = {"Idempotency-Key": said}
        thread_id = (await caller.post("threads", json={}, headers=key)).json()["thread_id"]
        await say(caller, thread_id, said)
        await caller.post("messages", json={"message": said}, headers={"Idempotency-Key": "m"})
        body = {"user_input": said, "conversation_id": said}
        await caller.post("orchestrate", json=body)
        await ended(caller, await submit(caller, message=said))
        await ended(caller, await submit(caller, message=said, thread_id=thread_id))
        await submit(caller, message=said, not_before="2999-01-01T00:00:00Z")
    return said


KEPT = {("audit", "owner"), ("audit", "$days"), ("state", "$erasures"), ("metrics", "$days")}
"""Where an owner's id is after an erasure: the audit trail, and which days have rows."""


async def test_an_owner_erases_everything_and_nobody_else_loses_anything(
    served: Served, emulator: EmulatorControl
) -> None:
    subject, other = str(uuid.uuid4()), str(uuid.uuid4())
    said, others = await live(served, subject), await live(served, other)
    async with served.caller(subject) as caller:
        erased = await caller.delete("me/data")
        receipt = erased.json()
        assert (erased.status_code, receipt["status"]) == (200, "erased"), receipt
        assert receipt["deleted"]["threads"] == 2
        assert receipt["deleted"]["jobs"] == 2
        assert receipt["deleted"]["turns"] == 2
        assert await served.rows_with(said) == set()
        assert await served.rows_with(subject) <= KEPT
        assert said not in repr(await emulator.responses())
        for path in ("threads", "jobs"):
            assert (await caller.get(path)).json()["data"] == []
        query = {"action": "data_erased"}
        (record,) = (await caller.get("audit", params=query)).json()["data"]
        assert record["erasure_id"] == receipt["erasure_id"]
        assert record["deleted"] == sum(receipt["deleted"].values())
        again = (await caller.delete("me/data")).json()
        assert (again["status"], again["deleted"]["threads"]) == ("erased", 0)
    async with served.caller(other) as caller:
        assert len((await caller.get("threads")).json()["data"]) == 2
        assert len((await caller.get("jobs")).json()["data"]) == 3
    assert ("state", "owner") in await served.rows_with(others)


async def test_an_admin_erases_the_owner_it_names(served: Served) -> None:
    subject = str(uuid.uuid4())
    said = await live(served, subject)
    owner = {"owner": f"{TENANT}:{subject}"}
    async with served.caller(str(uuid.uuid4())) as user:
        assert (await user.delete("me/data", params=owner)).status_code == 403
    assert await served.rows_with(said) != set()
    async with served.caller(ADMIN, "Agents.Admin") as admin:
        assert (await admin.delete("me/data", params=owner)).json()["status"] == "erased"
        query = {**owner, "action": "data_erased"}
        (record,) = (await admin.get("audit", params=query)).json()["data"]
    assert (record["subject"], record["owner"]) == (ADMIN, owner["owner"])
    assert await served.rows_with(said) == set()


async def test_what_runs_meanwhile_is_kept_whole_and_named(
    served: Served, emulator: EmulatorControl
) -> None:
    async with served.caller(str(uuid.uuid4())) as caller:
        thread_id = (await caller.post("threads", json={})).json()["thread_id"]
        await emulator.inject("hang", seconds=6.0)  # longer than an erasure by an app just started
        job_id = await submit(caller, message="slowly", thread_id=thread_id)

        async def is_running() -> bool:
            return (await caller.get(f"jobs/{job_id}")).json()["status"] == "running"

        await eventually(is_running)
        erasing = await caller.delete("me/data")
        assert (erasing.status_code, erasing.json()["status"]) == (202, "erasing")
        assert (await ended(caller, job_id))["status"] == "succeeded"
        assert (await caller.delete("me/data")).json()["status"] == "erased"
        assert (await caller.get(f"threads/{thread_id}")).status_code == 404
