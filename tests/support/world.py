"""Everything outside the app in one process: storage, queues, time and Foundry's emulator.

The world stays while processes of the app come and go on it. Its queues deliver as the Functions
host does: a message whose worker died shows again after ten minutes, and one that failed five
times goes to the poison queue.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette

from local.foundry.app import create_app
from local.foundry.settings import EmulatorSettings
from local.foundry.store import Store
from local.model.scripted import ScriptedModel
from shared.app import Services, Tables
from shared.config import AppSettings, CallbackSettings, FoundryAgentServiceConfig
from shared.foundry.errors import FoundryError
from shared.foundry.models import TurnRequest
from shared.jobs.queue import Notice, WakeUp
from shared.jobs.requests import SubmitJob
from shared.state.errors import (
    KeyInUseError,
    LaneBusyError,
    LeaseLostError,
    StateError,
    StorageUnavailableError,
)
from shared.state.idempotency import HOLD_SECONDS, Claim, KeptAnswer
from shared.state.jobs import Job
from shared.state.keys import Kind, is_id, new_id, newest_first
from shared.state.lanes import LEASE_SECONDS, Lanes
from shared.state.outbox import DeliveryStatus
from shared.state.table import Change
from shared.state.threads import Thread, Threads
from shared.turns.command import Outcome
from shared.turns.pipeline import TurnCommand

from .fakes import FakeClock, FakeTable
from .fuse import Fuse, FusedQueues, FusedTable, FusedTransport, SimulatedCrash
from .mini_foundry import SignedInFoundry

OWNER = "tenant:principal"
PROJECT = "https://emulator.services.ai.azure.com/api/projects/local"
RESOURCE = "https://emulator.services.ai.azure.com/openai/v1"

REPLIES = "replies"
"""The queue that jobs may be answered on."""

HIDDEN_SECONDS = 600
"""How long a message stays hidden whose worker died."""

VISIBILITY_SECONDS = 30
MAX_SWEEPS = 3
"""Whatever happened once, so many sweeps must find it."""

MAX_DEQUEUE_COUNT = 5

_T = TypeVar("_T")


@dataclass
class Delivery:
    """A wake-up or a notice on its queue."""

    message: WakeUp | Notice
    visible_at: datetime
    dequeue_count: int = 0

    @property
    def body(self) -> bytes:
        return self.message.to_body()


@dataclass
class MemoryQueues:
    """The app's queues and the poison queues."""

    clock: FakeClock
    waiting: list[Delivery] = field(default_factory=list[Delivery])
    poisoned: list[Delivery] = field(default_factory=list[Delivery])
    rejected: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    replies: list[bytes] = field(default_factory=list[bytes])
    poisoned_in_all: int = 0

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        self._put(WakeUp(owner, lane), delay_seconds)

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        self._put(notice, delay_seconds)

    def _put(self, message: WakeUp | Notice, delay_seconds: float) -> None:
        visible_at = self.clock() + timedelta(seconds=delay_seconds)
        self.waiting.append(Delivery(message, visible_at))

    async def reject(self, queue: str, body: bytes) -> None:
        self.rejected.append((queue, body))

    async def reply(self, queue: str, body: bytes) -> None:
        assert queue == REPLIES
        self.replies.append(body)

    async def oldest_seconds(self, queue: str) -> float:
        return 0.0

    async def count(self, queue: str) -> int:
        return 0

    async def aclose(self) -> None:
        return

    def take(self) -> Delivery | None:
        """The next message, hidden from now on; time passes until it is visible."""
        if not self.waiting:
            return None
        delivery = min(self.waiting, key=lambda waiting: waiting.visible_at)
        wait = (delivery.visible_at - self.clock()).total_seconds()
        self.clock.advance(max(wait, 0))
        delivery.visible_at = self.clock() + timedelta(seconds=HIDDEN_SECONDS)
        delivery.dequeue_count += 1
        return delivery

    def refuse(self, delivery: Delivery) -> None:
        """The function raised: the message comes again, or goes to poison."""
        if delivery.dequeue_count < MAX_DEQUEUE_COUNT:
            delivery.visible_at = self.clock() + timedelta(seconds=VISIBILITY_SECONDS)
            return
        self.waiting.remove(delivery)
        self.poisoned.append(delivery)
        self.poisoned_in_all += 1


@dataclass
class World:
    """State that outlives processes, and what an outside observer can see of it."""

    emulator: httpx.AsyncBaseTransport
    store: Store
    fuse: Fuse
    endpoint: str
    clock: FakeClock = field(default_factory=FakeClock)
    table: FakeTable = field(default_factory=FakeTable)
    audit_table: FakeTable = field(default_factory=FakeTable)
    settings: AppSettings = field(init=False)
    queues: MemoryQueues = field(init=False)
    services: Services = field(init=False)
    _started: list[Services] = field(default_factory=list[Services])

    def __post_init__(self) -> None:
        key = "local-key" if self.endpoint == RESOURCE else ""
        config = FoundryAgentServiceConfig(endpoint_url=self.endpoint, api_key=key, max_retries=0)
        callbacks = CallbackSettings(reply_queues=REPLIES)
        self.settings = AppSettings(foundry=config, callbacks=callbacks)
        self.queues = MemoryQueues(self.clock)
        self.start_process()

    def start_process(self, fuse: Fuse | None = None) -> None:
        """Begin anew with nothing remembered."""
        fuse = fuse or self.fuse
        http = FusedTransport(self.emulator, fuse)
        self.services = Services.build(
            self.settings,
            tables=Tables(
                FusedTable(self.table, fuse), FusedTable(self.audit_table, fuse), FakeTable()
            ),
            queues=FusedQueues(self.queues, fuse),
            foundry=SignedInFoundry(self.settings.foundry, http),
            clock=self.clock,
        )
        self._started.append(self.services)

    async def surviving(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """Do something; should the process die of it, start another one and do it again."""
        try:
            return await act()
        except SimulatedCrash:
            self.start_process(Fuse())
            self.clock.advance(LEASE_SECONDS + 1)
            return await act()

    async def add_thread(self) -> str:
        """A thread that stands before the story begins."""
        now, thread_id = self.clock(), new_id(Kind.THREAD)
        threads = Threads(self.table, Lanes(self.table, self.clock), self.clock)
        await threads.add(Thread(thread_id, OWNER, now, now))
        return thread_id

    async def submit(self, *messages: str, **fields: Any) -> str:
        """Submit a job as a producer does that puts its message again until it is taken."""
        job_id = new_id(Kind.JOB)
        body = SubmitJob(messages=list(messages), **fields)

        async def put() -> Job:
            return await self.services.core.submission.submit(OWNER, body, job_id)

        await self.surviving(lambda: _until_taken(put, self.clock))
        return job_id

    async def say(self, thread_id: str, message: str) -> None:
        """Send a message as a caller does who tries again unless it was answered."""
        command = TurnCommand(OWNER, TurnRequest(message), 60, thread_id)

        async def send() -> None:
            if message not in self.answered(thread_id):
                await self.services.core.turns.run(command)

        await self.surviving(lambda: _until_taken(send, self.clock))

    async def say_with_key(self, thread_id: str, message: str) -> None:
        """Send a message as a caller does who repeats the request, key and all, until answered."""
        await self.send_with_key(thread_id, TurnRequest(message))

    async def send_with_key(self, thread_id: str, request: TurnRequest) -> None:
        """Send a request in the same way."""
        key = request.message

        async def send() -> None:
            claimed = await self.services.web.api.messages.keys.claim(OWNER, key, key)
            if isinstance(claimed, Claim):
                await self._run_claimed(claimed, thread_id, request)

        await self.surviving(lambda: _until_taken(send, self.clock))

    async def _run_claimed(self, claim: Claim, thread_id: str, request: TurnRequest) -> None:
        def keep(outcome: Outcome) -> list[Change]:
            failed = isinstance(outcome, FoundryError)
            return [claim.reopen() if failed else claim.finish(KeptAnswer(200, {}, {}))]

        command = TurnCommand(OWNER, request, 60, thread_id, claim=claim)
        try:
            await self.services.core.turns.run(command, keep)
        except (StateError, FoundryError):
            await claim.give_up()
            raise

    async def cancel(self, job_id: str) -> None:
        """Cancel a job as a caller does who asks again unless it was answered."""

        async def ask() -> None:
            await self.services.core.jobs.cancel(OWNER, job_id)

        await self.surviving(lambda: _until_taken(ask, self.clock))

    async def work(self, within: float = HIDDEN_SECONDS) -> None:
        """Deliver the messages that show within some seconds; those of the dead take longest."""
        while delivery := self._next_delivery(within):
            try:
                await self._receive(delivery)
            except SimulatedCrash:
                raise
            except Exception:  # noqa: BLE001 - the host's border: the message comes again
                self.queues.refuse(delivery)
            else:
                self.queues.waiting.remove(delivery)
            await self._work_on_poison()

    def _next_delivery(self, within: float) -> Delivery | None:
        """The next message that shows in less than so many seconds."""
        limit = self.clock() + timedelta(seconds=within)
        if all(waiting.visible_at >= limit for waiting in self.queues.waiting):
            return None
        return self.queues.take()

    async def _receive(self, delivery: Delivery) -> None:
        services = self.services
        is_notice = isinstance(delivery.message, Notice)
        await (services.workers.deliveries if is_notice else services.workers.runner).receive(
            delivery.body
        )

    async def _work_on_poison(self) -> None:
        while self.queues.poisoned:
            await self.services.workers.runner.receive_poison(self.queues.poisoned[0].body)
            del self.queues.poisoned[0]

    async def settle(self) -> None:
        """Let leases end, sweep and work until everything must be over."""
        await self.surviving(self.work)
        for _ in range(MAX_SWEEPS):
            self.clock.advance(LEASE_SECONDS + 1)
            await self.surviving(lambda: _until_taken(self._sweep, self.clock))
            await self.surviving(self.work)
            if not self.boxes() and not self.untold():
                return

    async def _sweep(self) -> None:
        await self.services.timers.sweeper.sweep()
        await self.services.workers.deliveries.sweep()

    async def deliver_what_was_hidden(self) -> None:
        """Ten minutes later, the messages of dead workers come again."""
        self.clock.advance(HIDDEN_SECONDS + 1)
        await self.work()

    def job_rows(self) -> list[dict[str, Any]]:
        """The rows of all jobs."""
        return [dict(row.values) for row in self.table.rows(OWNER, "job:")]

    def boxes(self) -> int:
        """How many jobs wait."""
        return len(self.table.rows(OWNER, "box:"))

    def untold(self) -> int:
        """How many jobs have ended without its being told to whom it concerns."""
        return sum(row.get("delivery") == DeliveryStatus.PENDING for row in self.job_rows())

    def answered(self, thread_id: str) -> list[str]:
        """The messages of a thread whose turns were recorded as answered, in order."""
        rows = self.table.rows(OWNER, f"turn:{thread_id}:")
        return [row.values["question"] for row in rows if row.values["status"] == "succeeded"]

    def said(self, thread_id: str) -> list[str]:
        """The user's messages as Foundry keeps them for a thread, in order."""
        row = self.table.partitions[OWNER][newest_first(thread_id)]
        if self.endpoint == PROJECT:
            items = self.store.all("items", conversation_id=row.values["conversation_id"])
            return [text for item in items if (text := _user_text(item["body"]))]
        return self._said_in_chain(row.values.get("last_response_id"))

    def open_calls(self, thread_id: str) -> list[str]:
        """The ids of the calls that a thread's last turn handed over."""
        row = self.table.partitions[OWNER][newest_first(thread_id)]
        return [item["call_id"] for item in Thread.from_row(OWNER, row).open_calls.handed_over]

    def outputs(self, thread_id: str) -> list[str]:
        """The outputs of calls as Foundry keeps them for a thread, in order."""
        row = self.table.partitions[OWNER][newest_first(thread_id)]
        if self.endpoint == PROJECT:
            stored = self.store.all("items", conversation_id=row.values["conversation_id"])
            items = [item["body"] for item in stored]
        else:
            items = self._input_of_chain(row.values.get("last_response_id"))
        return [item["output"] for item in items if item["type"] == "function_call_output"]

    def _input_of_chain(self, response_id: str | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while response_id:
            response = self.store.find("responses", id=response_id)
            assert response is not None
            found[:0] = response["input"]
            response_id = response["previous_response_id"]
        return found

    def _said_in_chain(self, response_id: str | None) -> list[str]:
        items = self._input_of_chain(response_id)
        return [text for item in items if (text := _user_text(item))]

    def said_anywhere(self) -> Counter[str]:
        """How often each message stands in any conversation."""
        items = self.store.all("items")
        return Counter(text for item in items if (text := _user_text(item["body"])))

    def threads(self) -> list[str]:
        """The ids of all threads."""
        lanes = (job.get("thread_id") for job in self.job_rows())
        return sorted({lane for lane in lanes if lane and is_id(Kind.THREAD, lane)})

    async def aclose(self) -> None:
        """Close what every process had open."""
        for services in self._started:
            await services.aclose()


def _user_text(item: dict[str, Any]) -> str | None:
    if item.get("role") != "user":
        return None
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def _until_taken(put: Callable[[], Awaitable[_T]], clock: FakeClock) -> _T:
    """What any caller does: wait and try again while the service says it is not available."""
    while True:
        try:
            return await put()
        except LaneBusyError as busy:
            clock.advance(busy.retry_after)
        except (StorageUnavailableError, LeaseLostError, KeyInUseError, FoundryError):
            clock.advance(max(LEASE_SECONDS, HOLD_SECONDS) + 1)


@cache
def _emulator() -> Starlette:
    """The emulator's app; whenever it is started, its state is new."""
    return create_app(EmulatorSettings(), ScriptedModel())


@asynccontextmanager
async def running_world(fuse: Fuse | None = None, endpoint: str = PROJECT) -> AsyncGenerator[World]:
    """A world with an empty table and an emulator of its own."""
    app = _emulator()
    async with app.router.lifespan_context(app):
        world = World(httpx.ASGITransport(app), app.state.service.store, fuse or Fuse(), endpoint)
        yield world
        await world.aclose()


def problem_code(row: dict[str, Any]) -> str:
    """The code of the problem that a job ended with."""
    return json.loads(row["problem"])["code"]
