"""The app's queues: the intake of jobs, the wake-ups of workers, deliveries and replies.

Messages are base64, as the Functions host expects. A wake-up only names a lane, so its size does
not depend on the work, and a lost, duplicate or late one does no harm.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from ..config import POISON_SUFFIX
from ..state.errors import StorageUnavailableError
from ..state.keys import Kind, is_id
from ..state.refusals import refusal
from .requests import OWNER

log = logging.getLogger(__name__)

QUEUE_ROLE = "Storage Queue Data Contributor"

MAX_MESSAGE_BYTES = 48 * 1024
"""A queue message holds 64 KiB, a quarter of which is the overhead of base64."""

_OWNER = re.compile(OWNER)

FOREVER = -1
"""Time to live of a message that must not expire."""


@dataclass(frozen=True, slots=True)
class WakeUp:
    """The message that a lane of an owner has work."""

    owner: str
    lane: str

    @classmethod
    def parse(cls, body: bytes) -> WakeUp:
        """Read a message.

        Raises:
            ValueError: if it is not one that `to_body` wrote.
        """
        return cls(*_read(body, "lane", (Kind.THREAD, Kind.JOB)))

    def to_body(self) -> bytes:
        """The message's body."""
        return json.dumps({"owner": self.owner, "lane": self.lane}).encode()


@dataclass(frozen=True, slots=True)
class Notice:
    """The message that the result of an owner's job is to be delivered."""

    owner: str
    job_id: str

    @classmethod
    def parse(cls, body: bytes) -> Notice:
        """Read a message.

        Raises:
            ValueError: if it is not one that `to_body` wrote.
        """
        return cls(*_read(body, "job_id", (Kind.JOB,)))

    def to_body(self) -> bytes:
        """The message's body."""
        return json.dumps({"owner": self.owner, "job_id": self.job_id}).encode()


def _read(body: bytes, subject: str, kinds: Sequence[Kind]) -> tuple[str, str]:
    """The owner and the id, of one of ``kinds``, in a message.

    Any client with access to a queue can put any message there, so all of it is validated.
    """
    try:
        document = json.loads(body)
        owner, named = document["owner"], document[subject]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"does not name an owner and a {subject}") from error
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        raise ValueError("the owner is not valid")
    if not isinstance(named, str) or not any(is_id(kind, named) for kind in kinds):
        raise ValueError(f"the {subject} is not a valid id of a {' or '.join(kinds)}")
    return owner, named


class Queues(Protocol):
    """The operations of jobs on Queue Storage."""

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        """Enqueue a wake-up for a lane, visible after ``delay_seconds``."""
        ...

    async def reject(self, queue: str, body: bytes) -> None:
        """Put a message that cannot be processed on the poison queue of a queue."""
        ...

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        """Enqueue the delivery of a job's result, visible after ``delay_seconds``."""
        ...

    async def reply(self, queue: str, body: bytes) -> None:
        """Put the document of an ended job on a queue; at most `MAX_MESSAGE_BYTES`."""
        ...

    async def oldest_seconds(self, queue: str) -> float:
        """How long the first message of a queue has waited, in seconds; 0 for an empty queue."""
        ...

    async def count(self, queue: str) -> int:
        """The approximate number of messages on a queue."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class AzureQueues:
    """The queues of a storage account, which the first message creates if they are missing."""

    def __init__(
        self, service: QueueServiceClient, lanes_queue: str, deliveries_queue: str
    ) -> None:
        self._service = service
        self._lanes_queue = lanes_queue
        self._deliveries_queue = deliveries_queue
        self._clients: dict[str, QueueClient] = {}

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        """See `Queues.wake`."""
        body = WakeUp(owner, lane).to_body()
        await self._put(self._lanes_queue, body, math.ceil(delay_seconds))

    async def reject(self, queue: str, body: bytes) -> None:
        """See `Queues.reject`."""
        await self._put(queue + POISON_SUFFIX, body)

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        """See `Queues.notify`."""
        await self._put(self._deliveries_queue, notice.to_body(), math.ceil(delay_seconds))

    async def reply(self, queue: str, body: bytes) -> None:
        """See `Queues.reply`."""
        await self._put(queue, body)

    async def oldest_seconds(self, queue: str) -> float:
        """See `Queues.oldest_seconds`."""
        with _reading(queue):
            messages = await self._client(queue).peek_messages(max_messages=1)
            if messages and (inserted := messages[0].inserted_on):
                return max((datetime.now(UTC) - inserted).total_seconds(), 0.0)
        return 0.0

    async def count(self, queue: str) -> int:
        """See `Queues.count`."""
        with _reading(queue):
            properties = await self._client(queue).get_queue_properties()
            return properties.approximate_message_count or 0
        return 0

    async def _put(self, queue: str, body: bytes, delay: int = 0) -> None:
        client, text = self._client(queue), base64.b64encode(body).decode()
        try:
            try:
                await client.send_message(text, visibility_timeout=delay, time_to_live=FOREVER)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # another process created it meanwhile
                    await client.create_queue()
                await client.send_message(text, visibility_timeout=delay, time_to_live=FOREVER)
        except AzureError as error:
            refused = refusal(error, "Queue Storage", QUEUE_ROLE)
            raise StorageUnavailableError(
                refused
                or f"No message can be put on the queue {queue}. Check AzureWebJobsStorage, "
                f"and that the app's identity has the role '{QUEUE_ROLE}'."
            ) from error

    def _client(self, queue: str) -> QueueClient:
        if queue not in self._clients:
            self._clients[queue] = self._service.get_queue_client(queue)
        return self._clients[queue]

    async def aclose(self) -> None:
        """See `Queues.aclose`."""
        for client in self._clients.values():
            await client.close()
        await self._service.close()


@contextmanager
def _reading(queue: str) -> Generator[None]:
    """Treats a missing queue as empty, because the first message creates it."""
    try:
        yield
    except ResourceNotFoundError:
        return
    except AzureError as error:
        refused = refusal(error, "Queue Storage", QUEUE_ROLE)
        raise StorageUnavailableError(
            refused
            or f"The queue {queue} cannot be read. Check AzureWebJobsStorage and the network "
            "rules of the storage account, and that the app's identity has the role "
            f"'{QUEUE_ROLE}'."
        ) from error
