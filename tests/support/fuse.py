"""A process that dies, or an outage that strikes, at one chosen call to the world outside.

Every call to the table, the queues and Foundry passes the process's fuse. The fuse counts them,
and at the chosen one it blows: before the call, so that it has no effect, or after it, so that
the process gets no answer, or half-way, while Foundry is still at work on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import httpx

from shared.jobs.queue import Notice, Queues
from shared.state.errors import StorageUnavailableError
from shared.state.table import Change, Row, Table

_T = TypeVar("_T")

HALF_WAY_STEPS = 20
"""Turns of the event loop in which a request arrives but is not answered yet."""


class SimulatedCrash(BaseException):
    """The process is dead; nothing may catch this but the test."""


class Moment(StrEnum):
    """When the fuse blows, seen from its call."""

    BEFORE = "before"
    HALF_WAY = "half-way"
    AFTER = "after"


@dataclass
class Fuse:
    """Blows at the call of this number, counted from 1; never, if 0."""

    number: int = 0
    moment: Moment = Moment.BEFORE
    outage: bool = False
    """The call fails, as if storage or Foundry were away; else the whole process dies."""
    only: str = ""
    """Count only calls of this name."""
    calls: list[str] = field(default_factory=list[str])
    """What passed, in order."""

    @property
    def blown(self) -> bool:
        return 0 < self.number <= len(self.calls)

    async def passing(self, name: str, call: Callable[[], Awaitable[_T]], failure: Exception) -> _T:
        """Make a call, unless the process is dead; it fails with ``failure`` in an outage."""
        if self.blown and not self.outage:
            raise SimulatedCrash
        if self.only and name != self.only:
            return await call()
        self.calls.append(name)
        if len(self.calls) != self.number:
            return await call()
        if self.moment is Moment.AFTER:
            await call()
        if self.moment is Moment.HALF_WAY:
            running = asyncio.ensure_future(call())
            for _ in range(HALF_WAY_STEPS):
                await asyncio.sleep(0)
            running.add_done_callback(lambda task: task.exception())
        raise failure if self.outage else SimulatedCrash


@dataclass(frozen=True)
class FusedTable:
    """A table behind a fuse."""

    table: Table
    fuse: Fuse

    async def get(self, partition: str, row_key: str) -> Row | None:
        return await self._pass("get", lambda: self.table.get(partition, row_key))

    async def scan(self, partition: str, after: str, before: str, **options: Any) -> list[Row]:
        return await self._pass(
            "scan", lambda: self.table.scan(partition, after, before, **options)
        )

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        return await self._pass("walk", lambda: self.table.walk(after, limit=limit, select=select))

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        return await self._pass("write", lambda: self.table.write(partition, changes))

    async def _pass(self, name: str, call: Callable[[], Awaitable[_T]]) -> _T:
        return await self.fuse.passing(name, call, StorageUnavailableError("an outage"))

    async def aclose(self) -> None:
        await self.table.aclose()


@dataclass(frozen=True)
class FusedQueues:
    """Queues behind a fuse."""

    queues: Queues
    fuse: Fuse

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        await self._pass("wake", lambda: self.queues.wake(owner, lane, delay_seconds))

    async def reject(self, queue: str, body: bytes) -> None:
        await self._pass("reject", lambda: self.queues.reject(queue, body))

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        await self._pass("notify", lambda: self.queues.notify(notice, delay_seconds))

    async def reply(self, queue: str, body: bytes) -> None:
        await self._pass("reply", lambda: self.queues.reply(queue, body))

    async def _pass(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        await self.fuse.passing(name, call, StorageUnavailableError("an outage"))

    async def oldest_seconds(self, queue: str) -> float:
        return await self.queues.oldest_seconds(queue)

    async def count(self, queue: str) -> int:
        return await self.queues.count(queue)

    async def aclose(self) -> None:
        await self.queues.aclose()


class FusedTransport(httpx.AsyncBaseTransport):
    """The way to Foundry, behind a fuse."""

    def __init__(self, transport: httpx.AsyncBaseTransport, fuse: Fuse) -> None:
        self._transport = transport
        self._fuse = fuse

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {request.url.path.rpartition('/')[2]}"
        return await self._fuse.passing(
            name,
            lambda: self._transport.handle_async_request(request),
            httpx.ReadError("an outage", request=request),
        )
