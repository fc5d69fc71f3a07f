"""A relay between client and emulator that counts the connections the client keeps open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024
WAIT_SECONDS = 10.0


class Relay:
    """Passes bytes on in both ways, and closes both sides when one closes."""

    def __init__(self, target: str, cuts: int = 0) -> None:
        """Relay to ``target``; the first connections are cut when an answer begins to come."""
        self._cuts = cuts
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._changed = asyncio.Condition()
        self.open = 0
        """Connections that the client has open now."""
        self.most = 0
        """The most that it ever had."""
        self.made = 0
        """All that it ever opened."""

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        """Relay one connection of the client."""
        await self._count(1)
        try:
            server, requests = await asyncio.open_connection(self._host, self._port)
            is_cut = self.made <= self._cuts
            answering = server.read(1) if is_cut else _pass_on(server, answers)
            ways: list[asyncio.Task[bytes | None]] = [
                asyncio.create_task(_pass_on(client, requests)),
                asyncio.create_task(answering),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for writer in (requests, answers):
                writer.close()
            await asyncio.wait(ways)
        finally:
            await self._count(-1)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open += change
            self.made += max(change, 0)
            self.most = max(self.most, self.open)
            self._changed.notify_all()

    async def until_open(self, number: int) -> None:
        """Wait until the client has only so many connections open."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.open <= number)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # the other way ends then as well
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def relay_to(target: str, cuts: int = 0) -> AsyncGenerator[tuple[Relay, str]]:
    """A relay, and the URL at which it takes connections."""
    relay = Relay(target, cuts)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", backlog=512)
    try:
        yield relay, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await relay.until_open(0)
