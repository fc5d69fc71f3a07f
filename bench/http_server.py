"""HTTP/1.1 servers that are never what is measured: a request costs them some ten microseconds."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

BACKLOG = 4096


class HttpConnection(asyncio.Protocol):
    """One connection: every whole request on it is passed to `answer`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + content_length(self._received[:head])
            if len(self._received) < end:
                return
            request = self._received[:head], self._received[head + 4 : end]
            self._received = self._received[end:]
            self.answer(*request)

    @abstractmethod
    def answer(self, head: bytes, body: bytes) -> None:
        """Answer a request, now or later, with `write`."""

    def close(self) -> None:
        """Cut the connection."""
        self._transport.close()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the peer has left."""
        if not self._transport.is_closing():
            self._transport.write(data)


def content_length(head: bytes) -> int:
    """The length of the body that follows a head."""
    name = b"content-length:"
    start = head.lower().find(name)
    return int(head[start + len(name) :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def serve(connection: type[HttpConnection]) -> None:
    """Print a free port and serve on it until the process is ended."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        server = await loop.create_server(connection, sock=listener, backlog=BACKLOG)
        print(listener.getsockname()[1], flush=True)
        await server.serve_forever()


@contextmanager
def running(module: str, *arguments: str) -> Generator[int]:
    """A module that calls `serve`, as a process of its own, and its port."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        try:
            yield int((process.stdout or sys.stdin).readline())
        finally:
            process.terminate()
