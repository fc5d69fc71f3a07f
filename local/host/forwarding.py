"""Forwards requests to the worker as the Functions host does.

The host is a reverse proxy (YARP) in front of the worker's web server. So a function gets the
worker's `Host`, `X-Forwarded-*` headers from the host, no hop-by-hop headers, and a re-encoded
path. A request ends when no byte is sent for too long, or when the worker disconnects.
https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.Grpc/Server/DefaultHttpProxyService.cs
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.host.routing import decoded

SILENCE_SECONDS = 240.0
"""Without a byte in either direction, the host answers 504."""
SENDS = 10
"""Maximum attempts of a request without a body at a worker that does not answer."""
INVOCATION_ID = b"x-ms-invocation-id"
FAULT_HEADER = b"x-local-host-fault"
"""With the value `drop-answer`, for tests: the connection to the worker breaks once, after the
function has run and before it answers."""

_WORKER = b"127.0.0.1:7070"
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
_SET_BY_THE_HOST = frozenset(
    {b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", INVOCATION_ID}
)
Headers = Iterable[tuple[bytes, bytes]]


class _ConnectionBrokenError(Exception):
    """The worker disconnected before it answered."""


class Forwarder:
    """Passes requests to the worker's web server, which runs in this process."""

    def __init__(self, worker: ASGIApp, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._worker = worker
        self._silence_seconds = silence_seconds
        self._left_behind: set[asyncio.Task[None]] = set()
        """Functions whose request timed out; they run to their end."""

    async def forward(self, scope: Scope, invocation_id: str, receive: Receive, send: Send) -> None:
        """Send the worker's answer, 502 if it disconnects, 504 if it sends nothing for too long."""
        exchange = _Exchange(receive, send, drops_answer=_has(scope, FAULT_HEADER, b"drop-answer"))
        inner = _as_the_worker_sees_it(scope, invocation_id)
        has_body = _has_body(scope)
        for _ in range(1 if has_body else SENDS):
            exchange.owes_empty_body = not has_body
            try:
                await self._send_on(dict(inner), exchange)
            except _ConnectionBrokenError:
                continue
            except TimeoutError:
                await exchange.fail(504)
            return
        await exchange.fail(502)

    async def _send_on(self, scope: Scope, exchange: "_Exchange") -> None:
        running = asyncio.create_task(self._ask(scope, exchange))
        try:
            while not running.done():
                left = exchange.last_byte_at + self._silence_seconds - monotonic()
                if left <= 0:
                    self._leave_behind(running)
                    raise TimeoutError
                await asyncio.wait([running], timeout=left)
        except asyncio.CancelledError:
            running.cancel()
            raise
        await running

    def _leave_behind(self, running: asyncio.Task[None]) -> None:
        self._left_behind.add(running)
        running.add_done_callback(self._left_behind.discard)

    async def _ask(self, scope: Scope, exchange: "_Exchange") -> None:
        await self._worker(scope, exchange.receive, exchange.send)
        if not exchange.begun:
            raise _ConnectionBrokenError


@dataclass
class _Exchange:
    """A request and its answer, and the time of the last byte of either."""

    caller_receive: Receive
    caller_send: Send
    drops_answer: bool
    owes_empty_body: bool = False
    """Repeat the end of an empty body for each send, because the caller's server sends it once."""
    begun: bool = False
    over: bool = False
    last_byte_at: float = field(default_factory=monotonic)

    async def receive(self) -> Message:
        if self.owes_empty_body:
            self.owes_empty_body = False
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await self.caller_receive()
        self.last_byte_at = monotonic()
        return message

    async def send(self, message: Message) -> None:
        if self.over:
            return
        self.last_byte_at = monotonic()
        if self.drops_answer:
            self.drops_answer = False
            raise _ConnectionBrokenError
        self.begun = True
        await self.caller_send(message)

    async def fail(self, status: int) -> None:
        """Answer without a body, or cut an answer that has begun."""
        self.over = True
        if self.begun:
            raise ConnectionAbortedError("The worker stopped sending in the middle of its answer.")
        nothing: Scope = {"type": "http", "headers": []}
        await Response(status_code=status)(nothing, self.caller_receive, self.caller_send)


def _as_the_worker_sees_it(scope: Scope, invocation_id: str) -> Scope:
    given: Headers = scope["headers"]
    client = scope.get("client")
    host = next((value for name, value in given if name == b"host"), b"")
    kept = [
        (name, value)
        for name, value in given
        if name not in _HOP_BY_HOP and name not in _SET_BY_THE_HOST
    ]
    ours = [
        (b"host", _WORKER),
        (b"x-forwarded-for", (client[0] if client else "127.0.0.1").encode()),
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", str(scope.get("scheme", "http")).encode()),
        (INVOCATION_ID, invocation_id.encode()),
    ]
    path = decoded(scope["raw_path"].decode("ascii"))
    encoded = quote(path, safe="/:@!$&'()*+,;=~-._")
    return {**scope, "headers": [*kept, *ours], "path": path, "raw_path": encoded.encode()}


def _has(scope: Scope, name: bytes, value: bytes) -> bool:
    return (name, value) in scope["headers"]


def _has_body(scope: Scope) -> bool:
    given: Headers = scope["headers"]
    headers = dict(given)
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
