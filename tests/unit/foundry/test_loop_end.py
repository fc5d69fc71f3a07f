"""A client belongs to one event loop of one process, and says so elsewhere."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import pytest

from shared.config import MLConfig, ModelSettings
from shared.foundry import FoundryAgentServiceClient
from shared.foundry.events import TurnEvent
from shared.orchestration import ModelOrchestrator
from tests.support.app_on_fakes import RESOURCE, at_resource
from tests.support.scripted_foundry import ScriptedFoundry


def made() -> FoundryAgentServiceClient:
    return FoundryAgentServiceClient(at_resource(), http=ScriptedFoundry().transport)


async def stream(client: FoundryAgentServiceClient) -> list[TurnEvent]:
    return [event async for event in client.stream_message("Hi")]


USES: dict[str, Callable[[FoundryAgentServiceClient], Awaitable[object]]] = {
    "initialize": lambda client: client.initialize(),
    "send_message": lambda client: client.send_message("Hi"),
    "send_message_or_raise": lambda client: client.send_message_or_raise("Hi"),
    "stream_message": stream,
    "create_thread": lambda client: client.create_thread(),
    "health_check": lambda client: client.health_check(),
}


async def use(client: FoundryAgentServiceClient, name: str = "send_message") -> None:
    await USES[name](client)


@pytest.mark.parametrize("name", USES)
def test_a_second_event_loop_is_told_what_to_do(name: str) -> None:
    client = made()
    asyncio.run(use(client))
    with pytest.raises(RuntimeError, match="Make a new one inside each"):
        asyncio.run(use(client, name))
    asyncio.run(client.aclose())  # its connections are closed already


def test_a_loop_in_another_thread_is_told_what_to_do() -> None:
    async def run() -> None:
        client = made()
        await use(client)
        with pytest.raises(RuntimeError, match="event loop"):
            await asyncio.to_thread(asyncio.run, use(client))
        with pytest.raises(RuntimeError, match="event loop"):
            await asyncio.to_thread(asyncio.run, client.aclose())
        await use(client)
        await client.aclose()

    asyncio.run(run())


def test_an_orchestrator_says_the_same() -> None:
    ml = MLConfig(foundry_agent_service_endpoint=RESOURCE, foundry_agent_service_api_key="key")
    orchestrator = ModelOrchestrator(
        ml,
        models=ModelSettings(),
        in_memory=True,
        http=ScriptedFoundry().transport,
    )

    async def ask() -> str:
        asked = ("foundry_agent_service", "general", "Hi", "conv-1")
        return (await orchestrator.process_model_request(*asked))["reply"]

    assert asyncio.run(ask()) == "You said: Hi"
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(ask())


def test_a_client_that_was_only_made_is_free_to_go_anywhere() -> None:
    client = made()
    assert client.get_metrics()["total_requests"] == 0
    asyncio.run(use(client))


def in_a_fork(client: FoundryAgentServiceClient, pipe: Connection) -> None:
    try:
        asyncio.run(use(client))
        pipe.send("answered")
    except RuntimeError as error:
        pipe.send(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("used", [True, False])
def test_a_fork_of_the_process_is_told_what_to_do(used: bool) -> None:
    client = made()
    if used:
        asyncio.run(use(client))
    ours, theirs = multiprocessing.Pipe()
    fork = multiprocessing.get_context("fork").Process(target=in_a_fork, args=(client, theirs))
    fork.start()
    assert ours.poll(60)
    said = str(ours.recv())
    fork.join(60)
    assert fork.exitcode == 0
    assert ("after the fork" in said) if used else said == "answered"
