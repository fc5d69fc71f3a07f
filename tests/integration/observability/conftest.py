"""The app in this process, on the real storage and Foundry emulators."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from local.services import IDENTITY_HEADER, Azurite, FoundryEmulator
from shared.app import Services
from shared.config import AppSettings
from shared.foundry.service import FoundryService
from shared.foundry.tools import tool
from shared.jobs.queue import open_queues
from shared.state.account import open_tables
from shared.state.clock import StorageClock
from tests.support.calling import caller
from tests.support.served import Deployment, EmulatorControl


@tool
async def look_up(order: str) -> str:
    """Look an order up.

    Args:
        order: Its number.
    """
    if order == "missing":
        raise ValueError("secret words of a tool")
    return f"Order {order} is on its way."


@dataclass
class App:
    """The app, a caller of it, and what a worker does with its queue."""

    services: Services
    deployment: Deployment
    caller: httpx.AsyncClient

    async def run_lanes(self) -> int:
        """Do what the queue trigger does with each wake-up that waits; returns how many."""
        count = 0
        async with self.deployment.queue(self.deployment.lanes, base64=False) as queue:
            async for message in queue.receive_messages():
                await self.services.workers.runner.receive(base64.b64decode(str(message.content)))
                await queue.delete_message(message)
                count += 1
        return count


@asynccontextmanager
async def serving(deployment: Deployment, **overrides: str) -> AsyncGenerator[App]:
    """The app with the tool `look_up`, in this process."""
    settings = AppSettings.from_env(deployment.environment(**overrides))
    clock, names = StorageClock(), (settings.jobs.lanes_queue, settings.callbacks.deliveries_queue)
    services = Services.build(
        settings,
        tables=open_tables(settings.storage, None, clock),
        queues=open_queues(settings.storage, None, *names),
        foundry=FoundryService(settings.foundry, settings.identity, tools=[look_up]),
        clock=clock,
    )
    async with caller(services) as client:
        yield App(services, deployment, client)
    await services.aclose()


@pytest.fixture
def deployment(azurite: Azurite, foundry: FoundryEmulator) -> Deployment:
    return Deployment(azurite.connection_string, foundry)


@pytest.fixture(autouse=True)
def signed_in(foundry: FoundryEmulator) -> Iterator[None]:
    """The emulator's managed identity, which azure-identity finds in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", foundry.token_endpoint)
        patch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
        yield


@pytest.fixture
async def app(deployment: Deployment) -> AsyncIterator[App]:
    async with serving(deployment) as app:
        yield app


@pytest.fixture
async def emulator(foundry: FoundryEmulator) -> AsyncIterator[EmulatorControl]:
    """The emulator's controls; no fault outlives the test."""
    control = EmulatorControl(foundry)
    yield control
    await control.clear_faults()
    await control.aclose()
