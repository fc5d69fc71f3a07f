"""A function app in a worker process, and the caller that measures it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from local.processes import accepts_connections
from local.services import ROOT
from tests.support.waiting import eventually

from .app_worker import DELIVER
from .client import MESSAGE
from .http_server import content_length

LOOPBACK = "127.0.0.1"
START_SECONDS = 120

JSON = "Accept: application/json\r\n"
EVENTS = "Accept: text/event-stream\r\n"


@dataclass(frozen=True)
class App:
    """A function app, and how to recognise what it streams."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    first_text: bytes
    """What its stream has sent once the first text has arrived."""
    has_threads: bool = True


@dataclass(frozen=True)
class Timing:
    """How long one answer took, in seconds."""

    whole: float
    first_text: float


class _Connection(asyncio.Protocol):
    """One connection to the worker's HTTP server, with one request at a time."""

    def __init__(self, first_text: bytes) -> None:
        self._first_text = first_text
        self._done: asyncio.Future[tuple[bytes, bytes]] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._done and not self._done.done():
            self._done.set_exception(ConnectionResetError("the worker closed the connection"))

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing was received for the last request."""
        return not self._received

    async def ask(self, request: bytes) -> tuple[bytes, bytes, float]:
        """The head and body of the answer, and when its first text came."""
        self._received, self._first = bytearray(), 0.0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return *(await self._done), self._first

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._first and self._first_text in received:
            self._first = perf_counter()
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = bytes(received[:end]), received[end + 4 :]
        if b"chunked" in head.lower():
            is_whole = body.endswith(b"0\r\n\r\n")
        else:
            is_whole = len(body) == content_length(head)
        if is_whole and self._done and not self._done.done():
            self._done.set_result((head, bytes(body)))


class Served:
    """A running worker process."""

    def __init__(
        self,
        app: App,
        process: Process,
        http_port: int,
        deliveries: asyncio.StreamReader,
        invocations: asyncio.StreamWriter,
    ) -> None:
        self.app = app
        self._process = process
        self._http_port = http_port
        self._deliveries = deliveries
        self._invocations = invocations
        self._running: dict[str, asyncio.Future[None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._connections: dict[int, _Connection] = {}
        self._threads: dict[int, str] = {}

    @classmethod
    @asynccontextmanager
    async def running(cls, app: App, python: Path) -> AsyncGenerator[Served]:
        """Start a worker, and end it."""
        with tempfile.TemporaryFile() as log:
            process = await asyncio.create_subprocess_exec(
                python,
                *("-m", "bench.app_worker", str(app.folder)),
                env={"PATH": "", **app.environment},
                cwd=ROOT,
                stdout=PIPE,
                stderr=log,
            )
            try:
                http_port, port = await _ports(process)
                await eventually(lambda: accepts_connections(http_port))  # later than it says so
                yield cls(app, process, http_port, *await asyncio.open_connection(LOOPBACK, port))
            except Exception:
                log.seek(0)
                print(log.read().decode())
                raise
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    @property
    def process_id(self) -> int:
        """The id of the worker process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """The processor time that the kernel has accounted to the worker's threads."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9

    async def open_threads(self, places: int) -> None:
        """Give each place a thread of its own."""
        missing = [place for place in range(places) if place not in self._threads]
        for place in missing if self.app.has_threads else ():
            _, body, _ = await self._call(place, "create_thread", "api/threads", {})
            self._threads[place] = json.loads(body)["thread_id"]

    async def message(self, place: int, *, on_thread: bool, streamed: bool) -> Timing:
        """Send a message, and wait for its whole answer."""
        started, body = perf_counter(), {"message": MESSAGE}
        accepted = EVENTS if streamed else JSON
        if on_thread and self.app.has_threads:
            thread_id = self._threads[place]
            path, params = f"api/threads/{thread_id}/messages", {"thread_id": thread_id}
            head, _, first = await self._call(
                place, "send_thread_message", path, body, params, accepted
            )
        else:
            head, _, first = await self._call(
                place, "send_message", "api/messages", body, {}, accepted
            )
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        return Timing(perf_counter() - started, first - started)

    async def post(
        self, place: int, function: str, path: str, body: Mapping[str, Any], headers: str = ""
    ) -> float:
        """Send a request with more header lines, and wait for its whole answer; in seconds."""
        started = perf_counter()
        head, _, _ = await self._call(place, function, path, body, {}, JSON + headers)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        return perf_counter() - started

    def reconnect(self) -> None:
        """Use new connections from now on: after a pause, the worker closes the old ones."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    async def submit(self, place: int, job: Mapping[str, str]) -> None:
        """Submit a job."""
        head, _, _ = await self._call(place, "submit_job", "api/jobs", job)
        if not head.startswith(b"HTTP/1.1 202 "):
            raise RuntimeError(head.decode())

    async def deliver(self, function: str, text: str) -> None:
        """Give a queue message to a function, and wait for its end."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_deliveries())
        message_id = str(uuid.uuid4())
        done = self._running[message_id] = asyncio.get_running_loop().create_future()
        line = json.dumps([DELIVER, function, message_id, text])
        self._invocations.write(line.encode() + b"\n")
        await done

    async def _read_deliveries(self) -> None:
        while line := await self._deliveries.readline():
            self._running.pop(line.decode().strip()).set_result(None)

    async def _call(
        self,
        place: int,
        function: str,
        path: str,
        body: Mapping[str, Any],
        params: Mapping[str, str] | None = None,
        headers: str = JSON,
    ) -> tuple[bytes, bytes, float]:
        """Make one request as the Functions host does: an invocation, and HTTP with its id."""
        invocation_id, content = str(uuid.uuid4()), json.dumps(body).encode()
        url = f"http://{LOOPBACK}:{self._http_port}/{path}"
        line = json.dumps([function, invocation_id, f"POST {url}", params or {}])
        self._invocations.write(line.encode() + b"\n")
        head = (
            f"POST /{path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nx-ms-invocation-id: {invocation_id}\r\n"
            f"{headers}Content-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        request = head.encode() + content
        connection = await self._connection(place)
        try:
            return await connection.ask(request)
        except ConnectionResetError:
            if not connection.is_unanswered:
                raise
        # The worker closes what was idle for some seconds, at times while a request is on its way.
        return await (await self._connection(place)).ask(request)

    async def _connection(self, place: int) -> _Connection:
        connection = self._connections.get(place)
        if connection is None or not connection.is_open:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self.app.first_text), LOOPBACK, self._http_port
            )
            self._connections[place] = connection
        return connection


async def _ports(process: Process) -> tuple[int, int]:
    """The ports of a worker's HTTP server and of its invocations, once it is ready."""
    if process.stdout is None:
        raise RuntimeError("the worker has no output")
    async with asyncio.timeout(START_SECONDS):
        http_port, port = (await process.stdout.readline()).split()
    return int(http_port), int(port)
