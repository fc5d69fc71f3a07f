"""A receiver of callbacks on this machine, which answers as a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from .waiting import eventually


@dataclass(frozen=True)
class Received:
    """A request that arrived."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Counts connections and answers requests, by default with 204."""

    port: int = 0
    connections: int = 0
    open: int = 0
    received: list[Received] = field(default_factory=list[Received])
    answers: list[str] = field(default_factory=list[str])
    """Status line and headers of the next answers, such as ``500 Oops``; used in order."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, no answer is given."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def has(self, number: int, seconds: float = 20) -> list[Received]:
        """Wait for a number of requests."""
        await eventually(lambda: len(self.received) >= number, seconds)
        return self.received

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the caller has hung up
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(head[0].split(" ")[1], headers, body))
        answer = self.answers.pop(0) if self.answers else "204 No Content"
        await self.gate.wait()
        writer.write(
            f"HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()


@asynccontextmanager
async def receiver() -> AsyncGenerator[Receiver]:
    """A receiver that runs for the time of the block."""
    made = Receiver()
    made.gate.set()
    server = await asyncio.start_server(made.handle, "127.0.0.1")
    async with server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        made.gate.set()
        await eventually(lambda: made.open == 0)
