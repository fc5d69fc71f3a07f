"""A Queue Storage that answers at once: it takes messages, and passes them on.

https://learn.microsoft.com/rest/api/storageservices/put-message
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .http_server import BACKLOG, HttpConnection

_TEXT = re.compile(rb"<MessageText>([^<]*)</MessageText>")
_DATE = "Mon, 30 Nov 2026 00:00:00 GMT"
_RECEIPT = (
    '<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage>'
    f"<MessageId>1</MessageId><InsertionTime>{_DATE}</InsertionTime>"
    f"<ExpirationTime>{_DATE}</ExpirationTime><PopReceipt>1</PopReceipt>"
    f"<TimeNextVisible>{_DATE}</TimeNextVisible></QueueMessage></QueueMessagesList>"
)
_CREATED = (
    "HTTP/1.1 201 Created\r\nContent-Type: application/xml\r\n"
    f"Content-Length: {len(_RECEIPT)}\r\n\r\n{_RECEIPT}"
).encode()


@asynccontextmanager
async def queue() -> AsyncGenerator[tuple[int, asyncio.Queue[str]]]:
    """The port, and the texts of the messages in the order in which they came."""
    texts: asyncio.Queue[str] = asyncio.Queue()

    class Queue(HttpConnection):
        """A connection to the queue."""

        def answer(self, head: bytes, body: bytes) -> None:
            """See `HttpConnection.answer`."""
            if found := _TEXT.search(body):
                texts.put_nowait(base64.b64decode(found[1]).decode())
            self.write(_CREATED)

    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        port = int(listener.getsockname()[1])
        server = await asyncio.get_running_loop().create_server(
            Queue, sock=listener, backlog=BACKLOG
        )
        try:
            yield port, texts
        finally:
            server.close()
