"""Queue triggers: fetches messages, runs the function on each, and settles them.

The rules are those of the Storage Queues extension (Microsoft.Azure.WebJobs.Extensions.Storage):
at most batchSize + newBatchThreshold messages at once, hidden for ten minutes and renewed at
half-life while the function runs, deleted on success, shown again after visibilityTimeout on
failure, and moved to `<queue>-poison` after maxDequeueCount failures. A message that cannot be
decoded goes to the poison queue at once. One that a stop interrupts counts as failed.
"""

import asyncio
import base64
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.queue import QueueMessage as FunctionMessage
from azure.storage.queue import QueueMessage as StoredMessage
from azure.storage.queue.aio import QueueClient

from local.host.invocation import InvocationFailedError
from local.host.settings import QueueSettings

logger = logging.getLogger("local.host")

MESSAGE_LEASE = timedelta(minutes=10)
MIN_POLLING_SECONDS = 0.1
POISON_SUFFIX = "-poison"
_WHITE_SPACE = dict.fromkeys(map(ord, " \t\r\n"))
"""Allowed inside base64, as in .NET, because the command `base64` wraps its lines."""

MessageHandler = Callable[[FunctionMessage], Awaitable[object]]


class QueueListener:
    """Passes the messages of a queue to a handler; it raises InvocationFailedError on failure."""

    def __init__(
        self,
        queue: QueueClient,
        poison_queue: QueueClient | None,
        handler: MessageHandler,
        settings: QueueSettings,
        lease: timedelta = MESSAGE_LEASE,
    ) -> None:
        self._queue = queue
        self._poison_queue = poison_queue
        self._handler = handler
        self._settings = settings
        self._lease = lease
        self._running: set[asyncio.Task[None]] = set()
        self._reachable = True
        self._missing = False

    async def create(self) -> None:
        """Create the queue, so that a producer can put messages at once."""
        try:
            await self._queue.create_queue()
        except ResourceExistsError:
            pass
        except AzureError as error:
            self._note_unreachable(error)

    async def run(self, stopping: asyncio.Event) -> None:
        """Process messages until `stopping` is set, then finish the running ones.

        Cancellation cancels these too, and their messages count as failed.
        """
        pauses = Pauses(self._settings.max_polling_interval)
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                if len(self._running) > self._settings.new_batch_threshold:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                messages = await self._receive()
                for message in messages:
                    task = group.create_task(self._process(message))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                if messages:
                    pauses = Pauses(self._settings.max_polling_interval)
                else:
                    pause = next(pauses) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter)
                    await _wait(stopping, pause)

    async def _receive(self) -> list[StoredMessage]:
        if self._missing and not await self._appeared():
            return []
        pages = self._queue.receive_messages(
            messages_per_page=self._settings.batch_size,
            visibility_timeout=int(self._lease.total_seconds()),
        ).by_page()
        messages: list[StoredMessage] = []
        try:
            if page := await anext(pages, None):  # no message, no page
                messages = [message async for message in page]
        except ResourceNotFoundError:
            self._missing = True  # a producer may create the queue later
        except AzureError as error:
            self._note_unreachable(error)
            return []
        if not self._reachable:
            logger.info("Queue %s answers again", self._queue.queue_name)
            self._reachable = True
        return messages

    async def _appeared(self) -> bool:
        try:
            await self._queue.get_queue_properties()
        except ResourceNotFoundError:
            return False
        except AzureError as error:
            self._note_unreachable(error)
            return False
        self._missing = False
        return True

    def _note_unreachable(self, error: AzureError) -> None:
        if self._reachable:
            logger.warning(
                "Queue %s cannot be read (%s); still trying. Check that the storage service runs "
                "and that the trigger's connection setting is right.",
                self._queue.queue_name,
                type(error).__name__,
            )
        self._reachable = False

    async def _process(self, message: StoredMessage) -> None:
        lease = _Lease(self._queue, message.id, message.pop_receipt or "", self._lease)
        attempt = message.dequeue_count or 1
        try:
            if attempt > self._settings.max_dequeue_count and self._poison_queue:
                await self._move_to_poison(message, lease)
                return
            body = self._decode(message)
            if body is None:
                await self._move_to_poison(message, lease)
            elif await self._handled(message, body, lease):
                await lease.delete()
            else:
                await self._settle_failure(message, attempt, lease)
        except asyncio.CancelledError:
            await self._settle_failure(message, attempt, lease)
            raise
        except AzureError as error:
            logger.warning(
                "Message %s of queue %s could not be settled (%s); it may be delivered again",
                message.id,
                self._queue.queue_name,
                type(error).__name__,
            )

    async def _settle_failure(self, message: StoredMessage, attempt: int, lease: "_Lease") -> None:
        if attempt >= self._settings.max_dequeue_count:
            await self._move_to_poison(message, lease)
        elif self._poison_queue:
            await lease.show_after(self._settings.visibility_timeout)

    async def _handled(self, message: StoredMessage, body: bytes, lease: "_Lease") -> bool:
        """Run the handler under the lease; return whether it succeeded."""
        try:
            async with lease.renewed():
                await self._handler(_function_message(message, body))
        except InvocationFailedError:
            return False
        return True

    def _decode(self, message: StoredMessage) -> bytes | None:
        """Return the message's body, or None if it should be base64 and is not."""
        text = str(message.content or "")
        if not self._settings.base64_messages:
            return text.encode()
        try:
            return base64.b64decode(text.translate(_WHITE_SPACE), validate=True)
        except ValueError:
            logger.error(  # noqa: TRY400 (the text of the message must not be logged)
                "Message %s of queue %s is not base64, as host.json's messageEncoding requires",
                message.id,
                self._queue.queue_name,
            )
            return None

    async def _move_to_poison(self, message: StoredMessage, lease: "_Lease") -> None:
        if self._poison_queue is None:
            # A poison queue has no poison queue. The message stays hidden until its lease ends,
            # so it does not fail in a tight loop.
            return
        try:  # the copy has the default time to live of the storage service: seven days
            await self._poison_queue.send_message(message.content)
        except ResourceNotFoundError:
            await self._poison_queue.create_queue()
            await self._poison_queue.send_message(message.content)
        await lease.delete()
        logger.error(
            "Message %s was moved from queue %s to %s after %s attempts",
            message.id,
            self._queue.queue_name,
            self._poison_queue.queue_name,
            message.dequeue_count,
        )


class Pauses:
    """Seconds between polls of an empty queue: 0.1, 0.2, 0.3, 0.5, 0.8 and so on up to a limit."""

    def __init__(self, longest: timedelta) -> None:
        self._longest = max(longest.total_seconds(), MIN_POLLING_SECONDS)
        self._last, self._next = MIN_POLLING_SECONDS, MIN_POLLING_SECONDS

    def __iter__(self) -> "Pauses":
        return self

    def __next__(self) -> float:
        pause = min(self._next, self._longest)
        self._last, self._next = self._next, self._last + self._next
        return pause


@dataclass
class _Lease:
    """The right to a message; each renewal replaces its pop receipt."""

    queue: QueueClient
    message_id: str
    pop_receipt: str
    duration: timedelta

    @asynccontextmanager
    async def renewed(self) -> AsyncGenerator[None]:
        """Renew at half-life while the body runs.

        A running renewal is never cancelled, because its answer has the only valid pop receipt.
        """
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew_until(done))
        try:
            yield
        finally:
            done.set()
            await asyncio.shield(renewal)

    async def show_after(self, delay: timedelta) -> None:
        """Make the message visible to every reader after `delay`."""
        updated = await self.queue.update_message(
            self.message_id, self.pop_receipt, visibility_timeout=int(delay.total_seconds())
        )
        self.pop_receipt = updated.pop_receipt or self.pop_receipt

    async def delete(self) -> None:
        """Remove the message from the queue."""
        await self.queue.delete_message(self.message_id, self.pop_receipt)

    async def _renew_until(self, done: asyncio.Event) -> None:
        while not await _wait(done, self.duration.total_seconds() / 2):
            try:
                await self.show_after(self.duration)
            except AzureError as error:
                logger.warning(
                    "Message %s could not be kept hidden (%s); it may be delivered again",
                    self.message_id,
                    type(error).__name__,
                )


def _function_message(message: StoredMessage, body: bytes) -> FunctionMessage:
    return FunctionMessage(
        id=message.id,
        body=body,
        dequeue_count=message.dequeue_count,
        expiration_time=message.expires_on,
        insertion_time=message.inserted_on,
        time_next_visible=message.next_visible_on,
        pop_receipt=message.pop_receipt,
    )


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event` at most `seconds`; return whether it is set."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
