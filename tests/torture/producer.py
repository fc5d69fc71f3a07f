"""Puts the planned jobs in: most as `POST /jobs` does it, some on the public queue."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque

from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from shared.app import Services
from shared.jobs.requests import SubmitJob

from .plan import Lane, PlannedJob

PRODUCERS = 8
MOST_INLET_COPIES = 3


class Producer:
    """Submits every lane's jobs in their order, and all lanes' side by side."""

    def __init__(self, services: Services, intake: QueueClient, seed: int) -> None:
        self._services = services
        self._intake = intake
        self._chance = random.Random(seed)  # noqa: S311 - not for secrets

    @staticmethod
    def intake_client(connection_string: str, queue: str) -> QueueClient:
        """A client of the public queue as producers have it."""
        return QueueClient.from_connection_string(
            connection_string, queue, message_encode_policy=TextBase64EncodePolicy()
        )

    async def produce(self, lanes: list[Lane]) -> None:
        """Put in all jobs."""
        for lane in lanes:
            if lane.thread is not None:
                await self._services.core.threads.add(lane.thread)
        waiting = deque((lane, deque(lane.jobs)) for lane in lanes if lane.jobs)
        await asyncio.gather(*(self._take_turns(waiting) for _ in range(PRODUCERS)))

    async def _take_turns(self, waiting: deque[tuple[Lane, deque[PlannedJob]]]) -> None:
        """One job of one lane, then one of the next; no two producers have the same lane."""
        while waiting:
            lane, jobs = waiting.popleft()
            await self._put(lane, jobs.popleft())
            if jobs:
                waiting.append((lane, jobs))

    async def _put(self, lane: Lane, job: PlannedJob) -> None:
        thread_id = lane.thread.thread_id if lane.thread else None
        if not lane.by_intake:
            body = SubmitJob(messages=job.messages, thread_id=thread_id)
            if lane.thread is None:
                body = SubmitJob(message=job.messages[0])
            await self._services.core.submission.submit(lane.owner, body, job.job_id)
            return
        message = {
            "owner": lane.owner,
            "job_id": job.job_id,
            "thread_id": thread_id,
            "messages": job.messages,
        }
        for _ in range(self._chance.randint(1, MOST_INLET_COPIES)):
            await self._intake.send_message(json.dumps(message))
