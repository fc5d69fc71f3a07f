"""The emulator as a process of its own, with the scripted model, and the official clients."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from local.processes import Command, Service, answers_http, free_port
from tests.support import forking

TOKEN = "local-token"
API_KEY = "local-key"
DEPLOYMENT = "llama-3.3-70b"
STOP_SECONDS = 30.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    service: Service
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def project(self) -> str:
        return f"{self.origin}/api/projects/local"

    @property
    def openai(self) -> str:
        return f"{self.project}/openai/v1"

    async def kill(self) -> None:
        await asyncio.to_thread(self.service.kill)

    async def stop(self) -> int | None:
        """Stop it, if it still runs; returns its exit code."""
        await asyncio.to_thread(self.service.stop, STOP_SECONDS)
        return self.service.exit_code


@asynccontextmanager
async def running_emulator(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Emulator]:
    """Start `python -m local.foundry` and stop it at the end, if it is not dead by then."""
    port = free_port()
    with TemporaryDirectory() as folder:
        command = Command(
            "Foundry emulator",
            [sys.executable, "-m", "local.foundry", "--port", str(port), *arguments],
            Path(folder) / "foundry.log",
            lambda: answers_http(port, "/_emulator/health"),
            {"FOUNDRY_LOCAL_BACKEND": "scripted", **(environment or {})},
            ROOT,
            forking.spawn,
        )
        emulator = Emulator(Service(command), port)
        emulator.service.start()
        try:
            await asyncio.to_thread(emulator.service.wait_until_ready)
            yield emulator
        finally:
            await emulator.stop()


@pytest.fixture(scope="session")
async def shared_emulator() -> AsyncIterator[Emulator]:
    async with running_emulator() as emulator:
        yield emulator


@pytest.fixture
async def emulator(shared_emulator: Emulator) -> Emulator:
    """The shared emulator, free of faults and with an empty log."""
    async with httpx.AsyncClient(base_url=shared_emulator.origin) as client:
        (await client.delete("/_emulator/faults")).raise_for_status()
        (await client.delete("/_emulator/requests")).raise_for_status()
    return shared_emulator


@pytest.fixture
async def raw(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client below `{project}/openai/v1`."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=emulator.openai + "/", headers=headers, timeout=20
    ) as client:
        yield client


@pytest.fixture
async def resource(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client below the resource's `/openai/v1`."""
    async with httpx.AsyncClient(
        base_url=f"{emulator.origin}/openai/v1/", headers={"api-key": API_KEY}, timeout=20
    ) as client:
        yield client


@pytest.fixture
async def openai_client(emulator: Emulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=emulator.openai, api_key=TOKEN, max_retries=0) as client:
        yield client


@pytest.fixture
async def conversation(raw: httpx.AsyncClient) -> str:
    """The id of a fresh conversation."""
    created = (await raw.post("conversations", json={})).raise_for_status()
    return str(created.json()["id"])


class FaultInjector:
    """Arms faults of the emulator."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self, kind: str, operation: str = "responses.create", **more: Any) -> None:
        fault = {"kind": kind, "operation": operation, **more}
        answer = await self._client.post("/_emulator/faults", json=fault)
        assert answer.status_code == 201, answer.text


@pytest.fixture
async def inject(emulator: Emulator) -> AsyncIterator[FaultInjector]:
    async with httpx.AsyncClient(base_url=emulator.origin) as client:
        yield FaultInjector(client)
        await client.delete("/_emulator/faults")


def message(text: str) -> Any:
    """A user message as Foundry's schema wants it; Any, to pass as the SDK's typed items."""
    return {"type": "message", "role": "user", "content": text}


def turn(said: str, **fields: Any) -> dict[str, Any]:
    """The body of a response request to the default deployment."""
    return {"model": DEPLOYMENT, "input": [message(said)], **fields}


def text_of(response: Mapping[str, Any]) -> str:
    """The text of a response object."""
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )
