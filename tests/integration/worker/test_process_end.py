"""What a worker process saves when it is ended: by SIGTERM all, by SIGKILL what was due."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableClient

from local.services import ROOT, Azurite, FoundryEmulator
from shared.metering.meter import QUIET_SECONDS
from tests.support.environments import DEPLOYED_VERSION, find_python, with_requirements
from tests.support.served import Deployment

START_SECONDS = 120
END_SECONDS = 20

pytestmark = pytest.mark.timeout(400)  # the first run installs the packages


@pytest.fixture(scope="module")
def python() -> Path:
    found = find_python()
    if found is None:
        pytest.skip(f"there is no Python {DEPLOYED_VERSION} on PATH or among pyenv's versions")
    return with_requirements(found)


@asynccontextmanager
async def worker(python: Path, deployment: Deployment) -> AsyncGenerator[Process]:
    """A worker that has answered a message."""
    process = await asyncio.create_subprocess_exec(
        python,
        *("-m", "tests.support.worker.ended", str(ROOT)),
        env={"PATH": "", **deployment.environment(BUDGETS=BUDGETS)},
        cwd=ROOT,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            while (line := await process.stdout.readline()) != b"answered 200\n":
                assert line, (await process.communicate())[1].decode()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


BUDGETS = '[{"owner": "*", "tokens": 1000000, "per": "day"}]'


async def counted(deployment: Deployment) -> int:
    """How many rows of metrics are written."""
    async with TableClient.from_connection_string(deployment.storage, deployment.metrics) as table:
        with suppress(ResourceNotFoundError):
            rows = [row["RowKey"] async for row in table.list_entities(select=["RowKey"])]
            return len([key for key in rows if key.startswith("minute|")])
    return 0


async def test_a_worker_that_is_asked_to_end_saves_what_it_counted(
    python: Path, azurite: Azurite, foundry: FoundryEmulator
) -> None:
    deployment = Deployment(azurite.connection_string, foundry)
    async with worker(python, deployment) as process:
        assert await counted(deployment) == 0
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), END_SECONDS)
    assert process.returncode == -signal.SIGTERM
    assert await counted(deployment) > 0
    assert b"Traceback" not in errors, errors.decode()


async def test_a_worker_that_is_killed_had_saved_what_it_counted_before_it_was_quiet(
    python: Path, azurite: Azurite, foundry: FoundryEmulator
) -> None:
    """As the host ends it: with SIGKILL, when no invocation has run for a while."""
    deployment = Deployment(azurite.connection_string, foundry)
    async with worker(python, deployment) as process:
        async with asyncio.timeout(2 * QUIET_SECONDS + 10):
            while not await counted(deployment):
                await asyncio.sleep(0.5)
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
    assert await counted(deployment) > 0
