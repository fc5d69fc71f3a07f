"""A process that is killed inside a tool; the next request on its thread is answered."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from azure.data.tables.aio import TableServiceClient

from local.services import ROOT, Azurite
from shared.config import MLConfig, StorageSettings
from shared.foundry import FoundryAgentServiceClient
from shared.foundry.events import TurnCompleted
from shared.foundry.tools.unanswered import ABANDONED_CALL
from shared.orchestration import ModelOrchestrator, ModelType
from shared.orchestration.orchestrator import LOCAL_OWNER
from shared.state.keys import partition_key
from tests.support.laboratory import JsonObject, Laboratory, Where, new_name, said

from .turning import Way

PROGRAM = str(ROOT / "tests" / "support" / "doomed_client.py")
IN_THE_TOOL = "in the tool"
START_SECONDS = 60.0


@asynccontextmanager
async def doomed(*arguments: str, **settings: str) -> AsyncGenerator[list[str]]:
    """A program of a client's that has come to its tool: what it printed; then it is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    lines: list[str] = []
    try:
        async with asyncio.timeout(START_SECONDS):
            while IN_THE_TOOL not in lines:
                line = await process.stdout.readline()
                assert line, f"the program ended before its tool ran: {lines}"
                lines.append(line.decode().strip())
        yield lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def killed(lab: Laboratory, where: Where, *arguments: str) -> str:
    """The id that the killed program printed first: its thread, or its last answer's."""
    config = lab.config(where)
    settings = {
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": config.endpoint_url,
        "FOUNDRY_AGENT_SERVICE_API_KEY": config.api_key,
    }
    async with doomed(*arguments, **settings) as lines:
        pass
    return lines[0]


async def ask(client: FoundryAgentServiceClient, way: Way, text: str, thread_id: str) -> str:
    if way is Way.JSON:
        return (await client.send_message_or_raise(text, thread_id)).content
    async with aclosing(client.stream_message(text, thread_id)) as events:
        results = [event.result async for event in events if isinstance(event, TurnCompleted)]
    return results[-1].content


def fresh(lab: Laboratory, where: Where) -> FoundryAgentServiceClient:
    return FoundryAgentServiceClient(lab.config(where), identity=lab.identity)


def outputs(items: list[JsonObject]) -> list[str]:
    return [item["output"] for item in items if item["type"] == "function_call_output"]


@pytest.mark.parametrize(("way", "kind"), [(Way.JSON, "async"), (Way.STREAM, "sync")])
async def test_a_new_client_goes_on_in_the_conversation(
    lab: Laboratory, way: Way, kind: str
) -> None:
    thread_id = await killed(lab, Where.THREAD, str(way), kind)
    async with fresh(lab, Where.THREAD) as client:
        assert await ask(client, way, "and now?", thread_id) == "You said: and now?"
        assert await ask(client, way, "bye", thread_id) == "You said: bye"
    items = await lab.items(thread_id)
    assert outputs(items) == [ABANDONED_CALL]
    assert [said(items, text) for text in ("first", "and now?", "bye")] == [1, 1, 1]


async def test_a_client_that_knows_the_thread_goes_on(lab: Laboratory) -> None:
    """It made the thread, and another process was killed on it since."""
    way = Way.STREAM
    async with fresh(lab, Where.THREAD) as client:
        thread_id = await client.create_thread()
        await ask(client, way, "mine", thread_id)
        assert await killed(lab, Where.THREAD, str(way), "async", thread_id) == thread_id
        assert await ask(client, way, "and now?", thread_id) == "You said: and now?"
    assert outputs(await lab.items(thread_id)) == [ABANDONED_CALL]


async def test_a_new_client_goes_on_behind_the_last_answer_of_a_chain(lab: Laboratory) -> None:
    response_id = await killed(lab, Where.CHAIN, Way.JSON, "async")
    async with fresh(lab, Where.CHAIN) as client:
        assert await ask(client, Way.STREAM, "and now?", response_id) == "You said: and now?"
        told = await ask(client, Way.JSON, "/history", response_id)
    assert told == '["first", "and now?", "/history"]'


@pytest.mark.parametrize(("where", "way"), [(Where.THREAD, Way.JSON), (Where.CHAIN, Way.STREAM)])
async def test_a_new_orchestrator_goes_on_in_a_stored_conversation(
    lab: Laboratory, azurite: Azurite, where: Where, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = {"AzureWebJobsStorage": azurite.connection_string}
    for name, value in storage.items():
        monkeypatch.setenv(name, value)
    conversation_id = new_name("killed")
    await killed(lab, where, str(way), "async", conversation_id, "orchestrator")
    await end_leases(azurite)
    config = lab.config(where)
    ml = MLConfig(
        foundry_agent_service_endpoint=config.endpoint_url,
        foundry_agent_service_api_key=config.api_key,
    )
    async with ModelOrchestrator(ml, identity=lab.identity) as orchestrator:
        for text in ("and now?", "bye"):
            result = await orchestrator.process_model_request(
                ModelType.FOUNDRY_AGENT_SERVICE, "general", text, conversation_id
            )
            assert (result["error"], result["reply"]) == (None, f"You said: {text}")


async def end_leases(azurite: Azurite) -> None:
    """Let the time pass that the lease of the killed process still had."""
    name = StorageSettings.from_env().state_table
    past = datetime.now(UTC) - timedelta(minutes=1)
    async with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        table = service.get_table_client(name)
        mine = f"PartitionKey eq '{partition_key(LOCAL_OWNER)}' and lease_holder ge '!'"
        async for row in table.query_entities(mine):
            await table.update_entity({**row, "lease_until": past})
