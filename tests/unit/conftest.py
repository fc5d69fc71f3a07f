"""The app's parts on fakes, and a managed identity that works without Azure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from shared.app import Services
from shared.config import AppSettings, FoundryAgentServiceConfig, IdentitySettings
from tests.support.app_on_fakes import PROJECT, App
from tests.support.calling import caller


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """The app at a resource endpoint with an API key: threads are chains of responses."""
    app = App()
    yield app
    await app.aclose()


@pytest.fixture
def services(app: App) -> Services:
    return app.services()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the app on fakes."""
    async with caller(services) as client:
        yield client


@pytest.fixture(scope="session")
async def token_endpoint() -> AsyncIterator[str]:
    """URL of a managed-identity endpoint that gives every client a token."""
    token = {
        "access_token": "a-token",
        "expires_on": "4102444800",
        "resource": "https://ai.azure.com",
        "token_type": "Bearer",
    }
    body = json.dumps(token).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"


@pytest.fixture
def identity(token_endpoint: str) -> Iterator[IdentitySettings]:
    """A managed identity, as App Service offers it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", token_endpoint)
        patch.setenv("IDENTITY_HEADER", "header")
        yield IdentitySettings(managed_identity_endpoint=token_endpoint)


@pytest.fixture
async def project(identity: IdentitySettings) -> AsyncIterator[tuple[App, Services]]:
    """The app at a project endpoint with an agent: threads are conversations."""
    config = FoundryAgentServiceConfig(endpoint_url=PROJECT, agent_id="helper:3", max_retries=0)
    app = App(settings=AppSettings(foundry=config))
    yield app, app.services(identity)
    await app.aclose()
