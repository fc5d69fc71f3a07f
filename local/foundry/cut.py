"""Cut the TCP connection itself, instead of ending the answer in order.

`CuttableProtocol` gives every request an ASGI extension, `local.cut`: the transport of its
connection.
"""

import asyncio
import socket
import struct
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

EXTENSION = "local.cut"
_LINGER_ZERO = struct.pack("ii", 1, 0)
"""With a linger time of zero, closing sends RST instead of FIN."""
_DRAIN_SECONDS = 0.01


class ConnectionCutError(Exception):
    """The emulator cut the connection (seen only by callers that have no socket)."""


class NoAnswer(Response):
    """Nothing is sent: the connection is already cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


class CuttableProtocol(H11Protocol):
    """uvicorn's HTTP protocol; the application can reset its connections."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport to the requests of this connection."""
        super().connection_made(transport)
        app: ASGIApp = self.app  # pyright: ignore[reportAssignmentType]

        async def with_cut(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[EXTENSION] = transport
            await app(scope, receive, send)

        self.app = with_cut  # pyright: ignore[reportAttributeAccessIssue]


async def cut(request: Request, *, reset: bool = True) -> NoAnswer:
    """Cut the connection of `request` after its write buffer is sent.

    With `reset` the peer gets RST and may lose bytes that it has not read yet; without it, the
    connection ends in the middle of the answer.

    Raises:
        ConnectionCutError: The server has no connection to cut, as in an in-process test.
    """
    transport: Any = request.scope.get("extensions", {}).get(EXTENSION)
    if transport is None:
        raise ConnectionCutError
    # asyncio has no event for an empty write buffer
    while transport.get_write_buffer_size() > 0 and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_DRAIN_SECONDS)
    if reset:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
    await asyncio.sleep(0)  # lets the server notice it
    return NoAnswer()
