"""Processes of the app that make their calls to the world outside only when told to.

Between any two calls of one process, others may do theirs, time may pass, or the process may die.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from shared.app import Services, Tables
from shared.config import AppSettings
from shared.jobs.queue import Notice, Queues
from shared.state.lanes import Clock
from shared.state.table import Change, Row, Table

from .fakes import FakeTable
from .fuse import SimulatedCrash
from .mini_foundry import SignedInFoundry

_T = TypeVar("_T")

SETTLING_STEPS = 10
"""Turns of the event loop after which a process has come to its next call."""


@dataclass(frozen=True)
class Outside:
    """What processes share."""

    settings: AppSettings
    table: Table
    audit_table: Table
    """Records who did what; nothing depends on when, so writing there is no step."""
    queues: Queues
    foundry: httpx.AsyncBaseTransport
    clock: Clock
    may_send: Callable[[str], bool]
    """Whether the holder of a lease may still send a message; see `Process.send`."""


class Process:
    """One process: its parts, its tasks, and the calls that they wait to make."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._waiting: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._holders: dict[asyncio.Task[Any] | None, str] = {}
        self.is_dead = False
        self.services = Services.build(
            outside.settings,
            tables=Tables(_StepwiseTable(self, outside.table), outside.audit_table, FakeTable()),
            queues=_StepwiseQueues(self, outside.queues),
            foundry=SignedInFoundry(outside.settings.foundry, _StepwiseTransport(self)),
            clock=outside.clock,
        )

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return all(task.done() for task in self._tasks)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let it do something beside what it does already."""
        self._tasks.append(asyncio.ensure_future(work))

    async def step(self, choice: int = 0) -> None:
        """Let it make one of the calls it waits to make."""
        await self._settle()
        if self._waiting:
            self._waiting.pop(choice % len(self._waiting)).set_result(None)
            await self._settle()

    async def crash(self) -> None:
        """Kill it."""
        self.is_dead = True
        while self._waiting:
            self._waiting.pop().set_result(None)
            await self._settle()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.services.core.foundry.aclose()

    async def _settle(self) -> None:
        for _ in range(SETTLING_STEPS):
            await asyncio.sleep(0)

    async def passing(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Make a call when told to, unless dead by then."""
        if not self.is_dead:
            told = asyncio.get_running_loop().create_future()
            self._waiting.append(told)
            await told
        if self.is_dead:
            raise SimulatedCrash
        return await call()

    def note_lease(self, changes: Sequence[Change]) -> None:
        """Remember for which lease the running task works."""
        for change in changes:
            if holder := change.values.get("lease_holder"):
                self._holders[asyncio.current_task()] = str(holder)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Make a call to Foundry.

        No lease can stop a message that was held up on its way for longer than the lease lasts:
        the one case that the app does not guarantee. The message is lost here, with its process.
        """
        if request.url.path.endswith("/responses"):
            holder = self._holders[asyncio.current_task()]
            if not self._outside.may_send(holder):
                self.is_dead = True
                raise SimulatedCrash
        return await self._outside.foundry.handle_async_request(request)


@dataclass(frozen=True)
class _StepwiseTable:
    process: Process
    table: Table

    async def get(self, partition: str, row_key: str) -> Row | None:
        return await self.process.passing(lambda: self.table.get(partition, row_key))

    async def scan(self, partition: str, after: str, before: str, **options: Any) -> list[Row]:
        return await self.process.passing(
            lambda: self.table.scan(partition, after, before, **options)
        )

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        return await self.process.passing(
            lambda: self.table.walk(after, limit=limit, select=select)
        )

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        self.process.note_lease(changes)
        return await self.process.passing(lambda: self.table.write(partition, changes))

    async def aclose(self) -> None:
        await self.table.aclose()


@dataclass(frozen=True)
class _StepwiseQueues:
    process: Process
    queues: Queues

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        await self.process.passing(lambda: self.queues.wake(owner, lane, delay_seconds))

    async def reject(self, queue: str, body: bytes) -> None:
        await self.process.passing(lambda: self.queues.reject(queue, body))

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        await self.process.passing(lambda: self.queues.notify(notice, delay_seconds))

    async def reply(self, queue: str, body: bytes) -> None:
        await self.process.passing(lambda: self.queues.reply(queue, body))

    async def oldest_seconds(self, queue: str) -> float:
        return await self.queues.oldest_seconds(queue)

    async def count(self, queue: str) -> int:
        return await self.queues.count(queue)

    async def aclose(self) -> None:
        await self.queues.aclose()


@dataclass
class _StepwiseTransport(httpx.AsyncBaseTransport):
    process: Process = field(repr=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.process.passing(lambda: self.process.send(request))
