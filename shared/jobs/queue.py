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
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from ..config import POISON_SUFFIX, StorageSettings
from ..state.account import connection_string, endpoint
from ..state.errors import StorageUnavailableError
from ..state.keys import Kind, is_id
from ..state.refusals import refusal
from ..state.service import CONNECT_SECONDS, Service, StorageService
from ..state.signing import SignIn, StorageRequest
from .requests import OWNER

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueServiceClient

log = logging.getLogger(__name__)

QUEUE_STORAGE = Service("Queue Storage", "Storage Queue Data Contributor", seconds=10.0)
PUT_ATTEMPTS = 3
"""Few, because a caller waits for the wake-up; if it fails, the sweeper sends it later."""

_OPTIONS: dict[str, Any] = {
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": QUEUE_STORAGE.seconds,
    "initial_backoff": 1,
    "increment_base": 1,
    "retry_total": PUT_ATTEMPTS - 1,
}

MAX_DELAY_SECONDS = 6 * 86_400
"""Queue Storage can hide a message for at most 7 days."""

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
        """Enqueue a wake-up for a lane, visible after ``delay_seconds``.

        It becomes visible after `MAX_DELAY_SECONDS` at the latest; a worker that finds nothing due
        then enqueues another.
        """
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
    """The queues of a storage account, which the first message creates if they are missing.

    Messages are put by lean requests. The first call that does something else imports
    azure-storage-queue: a process starts faster without it.
    """

    def __init__(
        self,
        open_client: Callable[[], QueueServiceClient],
        service: StorageService,
        lanes_queue: str,
        deliveries_queue: str,
    ) -> None:
        self._open_client = open_client
        self._service = service.join()
        self._lanes_queue = lanes_queue
        self._deliveries_queue = deliveries_queue

    @cached_property
    def _client(self) -> QueueServiceClient:
        return self._open_client()

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        """See `Queues.wake`."""
        body = WakeUp(owner, lane).to_body()
        await self._put(self._lanes_queue, body, math.ceil(min(delay_seconds, MAX_DELAY_SECONDS)))

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
        with _using(queue):
            messages = await self._client.get_queue_client(queue).peek_messages(max_messages=1)
            if messages and (inserted := messages[0].inserted_on):
                return max((datetime.now(UTC) - inserted).total_seconds(), 0.0)
        return 0.0

    async def count(self, queue: str) -> int:
        """See `Queues.count`."""
        with _using(queue):
            properties = await self._client.get_queue_client(queue).get_queue_properties()
            return properties.approximate_message_count or 0
        return 0

    async def _put(self, queue: str, body: bytes, delay: int = 0) -> None:
        request = _message(queue, body, delay)
        answer = await self._service.send(request, attempts=PUT_ATTEMPTS)
        if answer.status == HTTPStatus.NOT_FOUND:
            with _using(queue), suppress(ResourceExistsError):  # another process created it
                await self._client.create_queue(queue)
            answer = await self._service.send(request, attempts=PUT_ATTEMPTS)
        if answer.failed:
            raise StorageUnavailableError(
                f"The queue {queue} refuses a message ({answer.status} {answer.code}): "
                f"{answer.reason}"
            )

    async def aclose(self) -> None:
        """See `Queues.aclose`."""
        if "_client" in self.__dict__:  # it was needed
            await self._client.close()
        await self._service.aclose()


def open_queues(
    storage: StorageSettings, sign_in: SignIn | None, lanes_queue: str, deliveries_queue: str
) -> AzureQueues:
    """Open the configured account; ``sign_in`` is needed where there is no connection string."""
    service = StorageService(QUEUE_STORAGE, endpoint(storage, "queue", sign_in))
    return AzureQueues(partial(_client, storage, sign_in), service, lanes_queue, deliveries_queue)


def _client(storage: StorageSettings, sign_in: SignIn | None) -> QueueServiceClient:
    from azure.storage.queue.aio import QueueServiceClient

    if connection := connection_string(storage):
        return QueueServiceClient.from_connection_string(connection, **_OPTIONS)
    uri, tokens = storage.queue_service_uri, sign_in and sign_in.tokens
    return QueueServiceClient(uri, credential=tokens, **_OPTIONS)


def _message(queue: str, body: bytes, delay: int) -> StorageRequest:
    """The request that puts a message.

    https://learn.microsoft.com/rest/api/storageservices/put-message
    """
    return StorageRequest(
        "POST",
        f"/{queue}/messages",
        {"Accept": "application/xml", "Content-Type": "application/xml"},
        b'<?xml version="1.0" encoding="utf-8"?><QueueMessage><MessageText>'
        + base64.b64encode(body)
        + b"</MessageText></QueueMessage>",
        {"messagettl": FOREVER, "visibilitytimeout": delay},
    )


@contextmanager
def _using(queue: str) -> Generator[None]:
    """Treats a missing queue as empty, because the first message creates it."""
    try:
        yield
    except ResourceNotFoundError:
        return
    except AzureError as error:
        refused = refusal(error, QUEUE_STORAGE.name, QUEUE_STORAGE.role)
        raise StorageUnavailableError(
            refused
            or f"The queue {queue} cannot be used. Check AzureWebJobsStorage and the network "
            "rules of the storage account, and that the app's identity has the role "
            f"'{QUEUE_STORAGE.role}'."
        ) from error
