"""Deletions that are finished although the app is killed in the middle; turns have tool rounds."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest
from azure.data.tables.aio import TableClient

from local.services import FunctionsHost
from shared.state.keys import newest_first
from tests.support.asking import ended, say, submit
from tests.support.served import Deployment, EmulatorControl, JsonObject
from tests.support.waiting import eventually

CALL = '/call order_status {"order_id": "1001"}'
"""Has the agent call the function that it offers, which makes a turn of two responses."""

OLDER_TURNS = 100
"""With them, the turns of a thread do not go all at once."""

LEASE_SECONDS = 2
HANG_SECONDS = 60.0
SWEEP_EVERY_SECONDS = 0.5
RESUMED_SECONDS = 60.0
NOT_OF_THE_OWNER = ("$erasures", "$retention")
"""Partitions of the state table that are not empty when all is erased."""

KEPT = "audit:"
"""How the keys of rows begin that an erasure leaves: the audit trail."""


@dataclass(frozen=True)
class Served:
    """An app on an agent that offers a function, and what its tests do to it."""

    deployment: Deployment
    host: FunctionsHost
    caller: httpx.AsyncClient
    emulator: EmulatorControl

    async def thread_of_turns(self, turns: int) -> str:
        """A new thread with turns of two responses each."""
        thread_id = (await self.caller.post("threads", json={})).json()["thread_id"]
        for _ in range(turns):
            await say(self.caller, thread_id, CALL)
        return thread_id

    async def add_older_turns(self, thread_id: str) -> None:
        """Put copies of a turn before it."""
        turn = (await self.deployment.rows(kind=f"turn:{thread_id}:"))[0]
        storage, table = self.deployment.storage, self.deployment.table
        keys = [f"turn:{thread_id}:{number:026d}" for number in range(OLDER_TURNS)]
        async with TableClient.from_connection_string(storage, table) as client:
            await client.submit_transaction([("create", {**turn, "RowKey": key}) for key in keys])

    async def responses(self, kind: str = "turn:") -> list[str]:
        """The responses of turns on record, in their order."""
        turns = await self.deployment.rows(kind=kind)
        return [each for turn in turns for each in json.loads(turn["responses"])]

    async def in_foundry(self, ids: list[str]) -> set[str]:
        """Which responses Foundry stores."""
        return {each["id"] for each in await self.emulator.responses()} & set(ids)

    async def kill_during(self, path: str, response_id: str) -> None:
        """Kill the app while a deletion waits for that of a response; start it again."""
        await self.emulator.inject(
            "hang", "responses.delete", seconds=HANG_SECONDS, match={"response_id": response_id}
        )
        before = await self._unanswered()
        deletion = asyncio.create_task(self.caller.delete(path))

        async def hangs() -> bool:
            """Whether all deletions before it are over, and it has begun."""
            unanswered = await self._unanswered() - before
            return len(unanswered) == 1 and unanswered.pop().endswith(response_id)

        await eventually(hangs)
        self.host.kill()
        with pytest.raises(httpx.TransportError):
            await deletion
        await self.emulator.clear_faults()
        self.host.restart()

    async def _unanswered(self) -> set[str]:
        """The addresses of deletions that Foundry has not answered."""
        deletions = await self.emulator.requests("responses.delete")
        return {each["path"] for each in deletions if each["status"] is None}

    async def sweep(self) -> None:
        """Do what the timer does, more often than by its schedule."""
        await asyncio.sleep(SWEEP_EVERY_SECONDS)
        await self.caller.post(f"{self.host.url}/admin/functions/expire_threads", json={})


@pytest.fixture(scope="module")
async def agent(deployment: Deployment) -> str:
    """An agent of this module's own."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    function = {
        "type": "function",
        "name": "order_status",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
    }
    definition = {"kind": "prompt", "model": "gpt-4.1", "tools": [function]}
    headers = {"Authorization": "Bearer local-token"}
    async with httpx.AsyncClient(headers=headers) as foundry:
        made = await foundry.post(
            f"{deployment.foundry.project_endpoint}/agents",
            params={"api-version": "v1"},
            json={"name": name, "definition": definition},
        )
    assert made.is_success, made.text
    return name


@pytest.fixture(scope="module")
def host(
    deployment: Deployment, agent: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, FunctionsHost]]:
    own = Deployment(deployment.storage, deployment.foundry)
    folder, lease = tmp_path_factory.mktemp("app"), str(LEASE_SECONDS)
    with own.serve(folder, FOUNDRY_AGENT_ID=agent, LEASE_SECONDS=lease) as host:
        yield own, host


@pytest.fixture
async def served(
    host: tuple[Deployment, FunctionsHost], emulator: EmulatorControl
) -> AsyncIterator[Served]:
    deployment, app = host
    async with httpx.AsyncClient(base_url=f"{app.url}/api/", timeout=30) as caller:
        yield Served(deployment, app, caller, emulator)


async def test_every_response_of_a_round_of_tools_goes_with_its_thread(served: Served) -> None:
    thread_id = await served.thread_of_turns(2)
    ids = await served.responses(f"turn:{thread_id}:")
    assert len(ids) == 4
    assert await served.in_foundry(ids) == set(ids)
    assert (await served.caller.delete(f"threads/{thread_id}")).status_code == 204
    assert await served.in_foundry(ids) == set()
    assert thread_id not in repr(await served.deployment.stored())


async def test_a_thread_whose_deletion_was_killed_goes_after_the_restart(served: Served) -> None:
    thread_id = await served.thread_of_turns(2)
    job_id = await submit(served.caller, message=CALL, thread_id=thread_id)
    assert (await ended(served.caller, job_id))["status"] == "succeeded"
    turns, path = f"turn:{thread_id}:", f"threads/{thread_id}"
    ids = await served.responses(turns)
    await served.add_older_turns(thread_id)
    (thread,) = await served.deployment.rows(kind=newest_first(thread_id))
    await served.kill_during(path, ids[-1])

    assert len(await served.deployment.rows(kind=turns)) == 3
    assert await served.in_foundry(ids) == {ids[-1]}
    message = {"message": CALL}
    for answer in (
        await served.caller.get(path),
        await served.caller.get(f"{path}/messages"),
        await served.caller.post(f"{path}/messages", json=message),
        await served.caller.post("jobs", json={**message, "thread_id": thread_id}),
        await served.caller.get(f"jobs/{job_id}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def is_gone() -> bool:
        await served.sweep()
        return not await served.deployment.rows(kind=newest_first(thread_id))

    await eventually(is_gone, RESUMED_SECONDS)
    assert thread_id not in repr(await served.deployment.stored())
    assert await served.in_foundry(ids) == set()
    assert thread["conversation_id"] not in json.dumps(await served.emulator.responses())
    assert (await served.caller.get(path)).status_code == 404


async def test_an_erasure_that_was_killed_goes_on_after_the_restart(served: Served) -> None:
    thread_id = await served.thread_of_turns(2)
    await served.caller.post("messages", json={"message": CALL})
    ids = await served.responses()
    lone = (await served.responses("turn:-:"))[-1]
    assert len(ids) == 6
    await served.kill_during("me/data", lone)
    assert await served.in_foundry(ids) == {lone}
    assert (await served.caller.get(f"threads/{thread_id}")).status_code == 404

    async def receipts() -> list[JsonObject]:
        await served.sweep()
        query = {"action": "data_erased"}
        return (await served.caller.get("audit", params=query)).json()["data"]

    (receipt,) = await eventually(receipts, RESUMED_SECONDS)
    assert receipt["outcome"] == "succeeded"
    stored = await served.deployment.stored()
    of_owner = [key for partition, key, _ in stored if not partition.startswith(NOT_OF_THE_OWNER)]
    assert [key for key in of_owner if not key.startswith(KEPT)] == []
    assert await served.in_foundry(ids) == set()
