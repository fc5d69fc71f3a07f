"""The whole app on many instances, on storage and a model that enforce their limits.

Everything that decides is the app's own code: turns, jobs, lanes, retries, pauses, backoff. Only
what it calls is simulated: Table and Queue Storage, which answer 503 above their rates, and the
model's deployment, which answers 429 above its quota. Import this module after
`virtual_time.start`.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from shared.app import Services, Tables
from shared.config import AppSettings, FoundryAgentServiceConfig
from shared.foundry.errors import FoundryError
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.jobs.queue import PUT_ATTEMPTS, QUEUE_STORAGE, Notice, WakeUp
from shared.jobs.requests import SubmitJob
from shared.state.azure_table import READ_RETRIES, TABLE_STORAGE, AzureTable
from shared.state.clock import StorageClock
from shared.state.errors import StateError
from shared.state.keys import Kind, new_id, newest_first
from shared.state.service import Endpoint, StorageService
from shared.state.signing import StorageRequest
from shared.state.table import Change, Row
from shared.turns.command import TurnCommand
from tests.support.fakes import FakeTable

from . import virtual_time

CHANCE = random.Random(1)  # noqa: S311 - draws arrivals and times, keeps no secret

STORAGE_SECONDS = 0.005
"""Of one request to storage."""

TURN_SECONDS = 2.0
"""Of an answer of the model, on average."""

WINDOW_SECONDS = 10.0
"""Of the model's quota: when it is used up, all is refused until the window ends."""

CALLER_SECONDS = 60.0
"""How long a caller waits for an answer."""

SWEEP_SECONDS = 60.0
VISIBILITY_SECONDS = 30.0
MAX_DELIVERIES = 5
MOST_DELIVERED = 96
"""Messages that one instance works on at once, as in `host.json`."""

DRAIN_SECONDS = 3600.0

PARTITION, ENTITIES = "x-partition", "x-entities"


@dataclass(frozen=True)
class Scenario:
    """How many instances, what the services allow in a second, and what is asked of the app."""

    name: str
    turns: float
    """That the model's quota allows."""
    transactions: float
    """Of the storage account."""
    entities: float
    """Of one partition."""
    asked: float
    """Turns a second that callers ask for, half of them as jobs."""
    instances: int = 200
    owners: int = 20
    seconds: float = 600.0


@dataclass
class Rate:
    """A limit of so many units a second, of which a second's worth may come at once."""

    per_second: float
    left: float = 0.0
    at: float = -1.0

    def takes(self, units: float) -> bool:
        """Whether there is room for more."""
        now = time.monotonic()
        self.left = min(self.left + (now - self.at) * self.per_second, self.per_second)
        self.at = now
        if self.left < units:
            return False
        self.left -= units
        return True


class LimitedStorage(httpx.AsyncBaseTransport):
    """A storage service that answers 503 above the rates of the account and of a partition."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._account = Rate(scenario.transactions)
        self._partitions: dict[str, Rate] = {}
        self.taken: Counter[int] = Counter()
        """By second of the simulation."""
        self.refused: Counter[int] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(STORAGE_SECONDS * CHANCE.uniform(0.5, 1.5))
        name, entities = request.headers[PARTITION], int(request.headers[ENTITIES])
        partition = self._partitions.setdefault(name, Rate(self._scenario.entities))
        if partition.takes(entities) and self._account.takes(1):
            self.taken[int(time.monotonic())] += 1
            return httpx.Response(204)
        self.refused[int(time.monotonic())] += 1
        return httpx.Response(503, headers={"x-ms-error-code": "ServerBusy"})


class Unsigned:
    """Leaves requests unsigned; the simulated storage checks none."""

    query = ""

    async def headers(self, request: StorageRequest, path: str) -> dict[str, str]:
        return {}


def asked(partition: str, entities: int = 1) -> StorageRequest:
    """A request that the limits count."""
    return StorageRequest("POST", "/", {PARTITION: partition, ENTITIES: str(entities)})


class LimitedTable(AzureTable):
    """The app's table, with its retries, before rows in memory."""

    def __init__(self, rows: FakeTable, service: StorageService) -> None:
        super().__init__("t", NotImplemented, service, StorageClock())
        self._rows = rows

    async def get(self, partition: str, row_key: str) -> Row | None:
        await self._service.send(asked(partition), attempts=READ_RETRIES + 1)
        return await self._rows.get(partition, row_key)

    async def scan(self, partition: str, after: str, before: str, **more: Any) -> list[Row]:
        await self._service.send(asked(partition), attempts=READ_RETRIES + 1)
        return await self._rows.scan(partition, after, before, **more)

    async def walk(self, after: tuple[str, str], **more: Any) -> list[tuple[str, Row]]:
        await self._service.send(asked(after[0]), attempts=READ_RETRIES + 1)
        return await self._rows.walk(after, **more)

    async def _submit(self, partition: str, changes: Sequence[Change]) -> str:
        await self._service.send(asked(partition, len(changes)))
        return await self._rows.write(partition, changes)

    async def aclose(self) -> None:
        await self._service.aclose()


@dataclass(order=True)
class Message:
    """A message of a queue."""

    visible_at: float
    number: int
    body: bytes = field(compare=False)
    is_notice: bool = field(compare=False, default=False)
    deliveries: int = field(compare=False, default=0)


class LimitedQueues:
    """The app's queues, whose messages are kept in memory."""

    def __init__(self, service: StorageService, waiting: list[Message]) -> None:
        self._service = service.join()
        self._waiting = waiting
        self._numbers = count()

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        await self._put(WakeUp(owner, lane), delay_seconds)

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        await self._put(notice, delay_seconds)

    async def reject(self, queue: str, body: bytes) -> None:
        raise AssertionError(f"{queue} has a message that cannot be read: {body!r}")

    async def reply(self, queue: str, body: bytes) -> None:
        raise AssertionError(f"no job asks for a reply: {queue} {body!r}")

    async def oldest_seconds(self, queue: str) -> float:
        return 0.0

    async def count(self, queue: str) -> int:
        return 0

    async def aclose(self) -> None:
        await self._service.aclose()

    async def _put(self, message: WakeUp | Notice, delay_seconds: float) -> None:
        await self._service.send(asked("queue"), attempts=PUT_ATTEMPTS)
        at, number = time.monotonic() + delay_seconds, next(self._numbers)
        put = Message(at, number, message.to_body(), isinstance(message, Notice))
        heapq.heappush(self._waiting, put)


class LimitedModel(httpx.AsyncBaseTransport):
    """A deployment that answers so many requests in a window, and refuses the others."""

    def __init__(self, per_second: float) -> None:
        self._per_window = per_second * WINDOW_SECONDS
        self._window = 0
        self._used = 0
        self.taken: Counter[int] = Counter()
        """By second of the simulation."""
        self.refused: Counter[int] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        now = time.monotonic()
        window = int(now // WINDOW_SECONDS)
        if window != self._window:
            self._window, self._used = window, 0
        if self._used >= self._per_window:
            self.refused[int(now)] += 1
            await asyncio.sleep(STORAGE_SECONDS)
            after = (window + 1) * WINDOW_SECONDS - now
            return httpx.Response(429, headers={"retry-after-ms": f"{after * 1000:.0f}"})
        self._used += 1
        self.taken[int(now)] += 1
        await asyncio.sleep(CHANCE.lognormvariate(0.0, 0.3) * TURN_SECONDS)
        return httpx.Response(200, content=_answer(request))


def _answer(request: httpx.Request) -> bytes:
    model = json.loads(request.content)["model"]
    text = {"type": "output_text", "text": "Yes.", "annotations": []}
    item = {"type": "message", "role": "assistant", "id": "msg_1", "content": [text]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    answer = {"id": "resp_1", "status": "completed", "model": model, "output": [item]}
    return json.dumps({**answer, "usage": usage}).encode()


@dataclass
class Instance:
    """One instance of the app, and the messages that it works on."""

    services: Services
    working: int = 0


class Overload:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.model = LimitedModel(scenario.turns)
        self.storage = LimitedStorage(scenario)
        self.rows = FakeTable()
        self.waiting: list[Message] = []
        self.accepted: list[tuple[str, str]] = []
        """Owner and id of each job."""
        self.outcomes: Counter[str] = Counter()
        """What came of callers' requests."""
        self.poisoned = 0
        self._running: set[asyncio.Task[None]] = set()
        self._instances = [self._instance() for _ in range(scenario.instances)]

    def _instance(self) -> Instance:
        foundry = FoundryAgentServiceConfig(
            endpoint_url="https://simulated.services.ai.azure.com/openai/v1", api_key="key"
        )
        place = Endpoint("https://simulated.example", Unsigned())
        table, queue = (
            StorageService(each, place, http=self.storage)
            for each in (TABLE_STORAGE, QUEUE_STORAGE)
        )
        services = Services.build(
            AppSettings(foundry=foundry),
            tables=Tables(*[LimitedTable(self.rows, table) for _ in range(3)]),
            queues=LimitedQueues(queue, self.waiting),
            foundry=FoundryService(foundry, http=self.model),
            clock=virtual_time.utc_now,
        )
        return Instance(services)

    async def run(self) -> float:
        """Ask more than can be done, then wait until all is done; returns how long that took."""
        ends_at = time.monotonic() + self.scenario.seconds
        background = [asyncio.create_task(each) for each in (self._deliver(), self._sweep())]
        rate = self.scenario.asked
        while time.monotonic() < ends_at:
            self._start(self._submit if CHANCE.random() < 0.5 else self._ask)
            await asyncio.sleep(CHANCE.expovariate(rate))
        drained_by = time.monotonic() + DRAIN_SECONDS
        while self._running or self.boxes:
            await asyncio.sleep(1.0)
            if time.monotonic() > drained_by:
                break
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        return time.monotonic() - ends_at

    @property
    def succeeded(self) -> int:
        """How many of the accepted jobs have succeeded."""
        rows = [self.rows.partitions[owner] for owner, _ in self.accepted]
        keys = [newest_first(job_id) for _, job_id in self.accepted]
        return sum(
            owner[key].values["status"] == "succeeded"
            for owner, key in zip(rows, keys, strict=True)
        )

    @property
    def boxes(self) -> int:
        """How many jobs wait."""
        partitions = self.rows.partitions.values()
        return sum(key.startswith("box:") for rows in partitions for key in rows)

    def _start(self, act: Callable[[Instance], Awaitable[None]]) -> None:
        async def acting() -> None:
            await act(CHANCE.choice(self._instances))

        task = asyncio.create_task(acting())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def _owner(self) -> str:
        return f"tenant:{CHANCE.randrange(self.scenario.owners)}"

    async def _ask(self, instance: Instance) -> None:
        """A caller who waits for the answer to a message."""
        command = TurnCommand(self._owner, TurnRequest("Hi"), CALLER_SECONDS)
        try:
            await instance.services.core.turns.run(command)
        except (FoundryError, StateError) as error:
            self.outcomes[error.code] += 1
        else:
            self.outcomes["answered"] += 1

    async def _submit(self, instance: Instance) -> None:
        """A caller who submits a job."""
        owner, job_id = self._owner, new_id(Kind.JOB)
        try:
            await instance.services.core.submission.submit(owner, SubmitJob(message="Hi"), job_id)
        except StateError as error:
            self.outcomes[f"job refused: {error.code}"] += 1
        else:
            self.accepted.append((owner, job_id))

    async def _deliver(self) -> None:
        """Deliver messages as the Functions host does."""
        while True:
            free = [each for each in self._instances if each.working < MOST_DELIVERED]
            while free and self.waiting and self.waiting[0].visible_at <= time.monotonic():
                message, instance = heapq.heappop(self.waiting), CHANCE.choice(free)
                instance.working += 1
                message.deliveries += 1
                task = asyncio.create_task(self._work(instance, message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            await asyncio.sleep(0.1)

    async def _work(self, instance: Instance, message: Message) -> None:
        workers = instance.services.workers
        try:
            if message.is_notice:
                await workers.deliveries.receive(message.body)
            else:
                await workers.runner.receive(message.body, deliveries=message.deliveries)
        except Exception:  # noqa: BLE001 - the border of the host: the message comes again
            await self._refuse(instance, message)
        finally:
            instance.working -= 1

    async def _refuse(self, instance: Instance, message: Message) -> None:
        if message.deliveries < MAX_DELIVERIES:
            message.visible_at = time.monotonic() + VISIBILITY_SECONDS
            heapq.heappush(self.waiting, message)
            return
        self.poisoned += 1
        try:
            await instance.services.workers.runner.receive_poison(message.body)
        except Exception:  # the sweeper finds the lane
            logging.getLogger(__name__).exception("A poisoned message failed")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await CHANCE.choice(self._instances).services.timers.sweeper.sweep()
            except StateError:
                continue
