"""A proxy that tunnels to one TLS server, both on this machine, and what went through it."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .authority import Certificate, make_certificate
from .scripted_foundry import message_item, response_body

DOMAIN = "proxied.test"
HOSTS = tuple(f"{name}.{DOMAIN}" for name in ("foundry", "vllm", "login", "storage"))
"""Names that nothing resolves: only the proxy leads to them."""

USER, PASSWORD = "ada", "pass:word"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection to the server behind the proxy."""

_CHOICE = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
_ANSWERS: dict[str, dict[str, Any]] = {
    "/responses": response_body(output=[message_item("Hi", id="msg_1")]),
    "/chat/completions": {"id": "c", "choices": [_CHOICE]},
    "/models": {"data": [{"id": "m"}]},
    "/token": {"access_token": "a-token", "expires_in": 3600},
}


@dataclass
class Proxy:
    """What the proxy asks for, and what it was asked."""

    certificate: Certificate
    """The authority of the server behind it."""
    status: int = 200
    """What it answers to a client with the right password; 200 lets through."""
    port: int = 0
    tunnels: list[str] = field(default_factory=list[str])
    """Hosts that it led to."""

    @property
    def url(self) -> str:
        """As HTTPS_PROXY names it, with user and password."""
        return f"http://{USER}:{PASSWORD.replace(':', '%3A')}@127.0.0.1:{self.port}"

    @property
    def url_without_user(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def verdict(self, head: str) -> int:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.status if f"Basic {expected}" in head else 407


def relaying_to(port: int) -> Answer:
    """What answers as a server of this machine does, whatever host it is asked for."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    return relay


@asynccontextmanager
async def running_proxy(
    folder: Path, hosts: Sequence[str] = HOSTS, answer: Answer | None = None
) -> AsyncGenerator[Proxy]:
    """A proxy, and the server that it tunnels to whatever host it is asked for."""
    proxy = Proxy(make_certificate(folder, *hosts))
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(proxy.certificate.path, proxy.certificate.key_path)
    upstream = await asyncio.start_server(answer or _answer, "127.0.0.1", ssl=trust)
    upstream_port = upstream.sockets[0].getsockname()[1]

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = proxy.verdict(head)
        if status == 200:
            proxy.tunnels.append(head.split()[1].rpartition(":")[0])
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", upstream_port)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        else:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(tunnel, "127.0.0.1")
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        upstream.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of a connection, answered by its path."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    for line in head.lower().splitlines():
        if line.startswith("content-length:"):
            await reader.readexactly(int(line.partition(":")[2]))
    path = head.split()[1].partition("?")[0]
    answer = next((a for ending, a in _ANSWERS.items() if path.endswith(ending)), {})
    body = json.dumps(answer).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    await writer.drain()
    writer.close()
