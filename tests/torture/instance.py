"""The app's parts on real storage, with a clock that is wrong and wake-ups that come too often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.app import Services
from shared.config import AppSettings
from shared.foundry.service import FoundryService
from shared.jobs.queue import Notice, Queues, open_queues
from shared.state.account import open_tables
from shared.state.clock import StorageClock, utc_now


@dataclass(frozen=True)
class Disturbance:
    """How an instance is lied to."""

    skew: float
    """Seconds by which its clock is ahead."""
    copies: int
    """The most times that a wake-up is put."""
    seed: int


@dataclass(frozen=True)
class RepeatingQueues:
    """Queues that put each wake-up once or several times."""

    queues: Queues
    copies: int
    chance: random.Random

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        copies = 1 if delay_seconds else self.chance.randint(1, self.copies)
        for _ in range(copies):
            await self.queues.wake(owner, lane, delay_seconds)

    async def reject(self, queue: str, body: bytes) -> None:
        await self.queues.reject(queue, body)

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        await self.queues.notify(notice, delay_seconds)

    async def reply(self, queue: str, body: bytes) -> None:
        await self.queues.reply(queue, body)

    async def oldest_seconds(self, queue: str) -> float:
        return await self.queues.oldest_seconds(queue)

    async def count(self, queue: str) -> int:
        return await self.queues.count(queue)

    async def aclose(self) -> None:
        await self.queues.aclose()


def connect(settings: AppSettings, disturbance: Disturbance) -> Services:
    """An instance as `Services.connect` builds it, but disturbed."""
    storage = settings.storage

    def wrong_time() -> datetime:
        return utc_now() + timedelta(seconds=disturbance.skew)

    clock = StorageClock(local=wrong_time)
    names = (settings.jobs.lanes_queue, settings.callbacks.deliveries_queue)
    queues = open_queues(storage, None, *names)
    chance = random.Random(disturbance.seed)  # noqa: S311 - not for secrets
    return Services.build(
        settings,
        tables=open_tables(storage, None, clock),
        queues=RepeatingQueues(queues, disturbance.copies, chance),
        foundry=FoundryService(settings.foundry, settings.identity),
        clock=clock,
    )
