"""Connections that nothing uses are closed; counted by the server that they lead to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.foundry import transport
from shared.foundry.transport import Call, Transport
from shared.identity.credentials import ApiKeyCredential
from shared.state import service as storage
from shared.state import table_wire
from shared.state.azure_table import TABLE_STORAGE
from shared.state.service import Endpoint, StorageService
from shared.state.signing import SharedKey, table_text

MOST_IDLE_SECONDS = 60
BURST = 60
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Answers each request when all of a burst have come, so that none shares a connection."""

    expected: int
    url: str = ""
    open: int = 0
    most: int = 0
    waiting: int = 0
    together: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.waiting += 1
                if self.waiting == self.expected:
                    self.together.set()
                await self.together.wait()
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def listening(expected: int) -> AsyncGenerator[Server]:
    server = Server(expected)
    sockets = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{sockets.sockets[0].getsockname()[1]}"
    async with sockets:
        yield server


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_connections_of_a_burst_are_closed_when_they_are_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_SECONDS", 0.4)
    async with listening(BURST) as server:
        sender = Transport(ApiKeyCredential("key"), pool_size=BURST, url=server.url)
        call = Call("GET", f"{server.url}/models")
        await asyncio.gather(*(sender.send(call, seconds=10) for _ in range(BURST)))
        assert server.most == server.open == BURST
        await until(lambda: server.open == 0, 5)
        await sender.aclose()


async def test_the_connections_to_storage_are_closed_when_they_are_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "KEEPALIVE_SECONDS", 0.4)
    before = descriptors()
    async with listening(BURST) as server:
        endpoint = Endpoint(server.url, SharedKey("account", "a2V5", table_text))
        service = StorageService(TABLE_STORAGE, endpoint).join()
        read = table_wire.read("rows", "p", "r")
        for _ in range(3):
            await asyncio.gather(*(service.send(read) for _ in range(BURST)))
        assert server.most == server.open == BURST
        await until(lambda: server.open == 0, 5)
        await service.aclose()
    assert descriptors() <= before


def descriptors() -> int:
    """Files and connections that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("seconds", [transport.KEEPALIVE_SECONDS, storage.KEEPALIVE_SECONDS])
def test_no_connection_is_idle_for_more_than_a_minute(seconds: float) -> None:
    """What is idle is looked for once in as long as it may be idle."""
    assert 2 * seconds <= MOST_IDLE_SECONDS
