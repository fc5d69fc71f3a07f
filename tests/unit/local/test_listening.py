"""Sockets of the local servers: answers wait for no acknowledgement; a taken port is an error."""

from __future__ import annotations

import asyncio
import socket

import pytest

from local.listening import listen


async def test_a_connection_sends_what_is_written_at_once() -> None:
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(writer)

    with listen("127.0.0.1", 0, backlog=1) as listener:
        async with await asyncio.start_server(accept, sock=listener):
            _, client = await asyncio.open_connection(*listener.getsockname())
            server = await accepted
            try:
                connection = server.get_extra_info("socket")
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            finally:
                client.close()
                server.close()


def test_a_port_is_listened_on_once() -> None:
    with listen("127.0.0.1", 0, backlog=1) as first, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1], backlog=1)
