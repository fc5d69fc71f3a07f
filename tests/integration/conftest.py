"""The sample app on the local host."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from azure.storage.queue.aio import QueueClient

from local.services import Azurite, FunctionsHost, HostLaunch, functions_host
from tests.support import forking

SAMPLE_APP = Path(__file__).parent / "sample_app"
# A date that never comes: timers stay quiet in tests of other things.
NEVER = "0 0 0 29 2 1"


@pytest.fixture
def queue_name() -> str:
    """A queue name that no other test uses."""
    return f"work-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def queue(azurite: Azurite, queue_name: str) -> AsyncIterator[QueueClient]:
    """An empty queue."""
    async with QueueClient.from_connection_string(azurite.connection_string, queue_name) as client:
        await client.create_queue()
        yield client


@pytest.fixture
async def poison_queue(azurite: Azurite, queue_name: str) -> AsyncIterator[QueueClient]:
    """The poison queue of `queue`, not created."""
    name = f"{queue_name}-poison"
    async with QueueClient.from_connection_string(azurite.connection_string, name) as client:
        yield client


@pytest.fixture
def sample_settings(azurite: Azurite, queue_name: str) -> dict[str, str]:
    """What the sample app needs in its environment."""
    return {
        "AzureWebJobsStorage": azurite.connection_string,
        "WORK_QUEUE": queue_name,
        "TIMER_SCHEDULE": NEVER,
    }


@pytest.fixture(scope="module")
def shared_host(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The sample app on a host that the tests of one module share."""
    settings = {
        "AzureWebJobsStorage": azurite.connection_string,
        "WORK_QUEUE": f"shared-{uuid.uuid4().hex[:12]}",
        "TIMER_SCHEDULE": NEVER,
    }
    launch = HostLaunch(app_dir=SAMPLE_APP, environment=settings, spawn=forking.spawn)
    with functions_host(tmp_path_factory.mktemp("host"), launch) as service:
        yield service


@pytest.fixture
async def caller(shared_host: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared host."""
    async with httpx.AsyncClient(base_url=shared_host.url, timeout=30) as client:
        yield client
