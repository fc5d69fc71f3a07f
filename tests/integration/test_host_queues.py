"""Queue triggers of the local host, on Azurite."""

import asyncio
import base64
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.functions import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.azurite import StoragePorts, connection_string
from local.host.invocation import InvocationFailedError
from local.host.queues import QueueListener
from local.host.settings import QueueSettings
from local.processes import free_port
from local.services import HostLaunch, azurite, functions_host
from tests.support import forking
from tests.support.waiting import eventually

from .conftest import SAMPLE_APP

QUICK = QueueSettings(
    batch_size=4,
    new_batch_threshold=1,
    max_dequeue_count=2,
    visibility_timeout=timedelta(seconds=1),
    max_polling_interval=timedelta(seconds=0.2),
)


@asynccontextmanager
async def listening(
    queue: QueueClient,
    poison_queue: QueueClient | None,
    handler: Callable[[QueueMessage], Awaitable[None]],
    lease: timedelta = timedelta(minutes=10),
    settings: QueueSettings = QUICK,
) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a listener, and stop it in order at the end."""
    stopping = asyncio.Event()
    listener = QueueListener(queue, poison_queue, handler, settings, lease)
    task = asyncio.create_task(listener.run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        with suppress(asyncio.CancelledError):
            await task


async def send(queue: QueueClient, text: str) -> None:
    await queue.send_message(base64.b64encode(text.encode()).decode())


async def count(queue: QueueClient) -> int:
    try:
        return (await queue.get_queue_properties()).approximate_message_count or 0
    except ResourceNotFoundError:
        return 0


async def peek(queue: QueueClient) -> list[str]:
    try:
        return [str(message.content) for message in await queue.peek_messages(max_messages=32)]
    except ResourceNotFoundError:
        return []


async def test_a_processed_message_is_decoded_described_and_deleted(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    got: list[QueueMessage] = []

    async def handler(message: QueueMessage) -> None:
        got.append(message)

    await send(queue, '{"name": "Ä"}')
    async with listening(queue, poison_queue, handler):
        await eventually(lambda: got)

        async def is_empty() -> bool:
            return await count(queue) == 0

        await eventually(is_empty)
    message = got[0]
    assert message.get_json() == {"name": "Ä"}
    assert (message.dequeue_count, bool(message.id), bool(message.pop_receipt)) == (1, True, True)
    assert message.insertion_time is not None
    assert message.expiration_time is not None
    assert message.expiration_time > message.insertion_time


async def test_messages_of_encoding_none_arrive_as_they_are(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    got: list[bytes] = []

    async def handler(message: QueueMessage) -> None:
        got.append(message.get_body())

    await queue.send_message("plain & <simple>")
    plain = dataclasses.replace(QUICK, base64_messages=False)
    async with listening(queue, poison_queue, handler, settings=plain):
        await eventually(lambda: got)
    assert got == [b"plain & <simple>"]


@pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\t"])
async def test_white_space_inside_base64_is_allowed(
    queue: QueueClient, poison_queue: QueueClient, space: str
) -> None:
    got: list[bytes] = []

    async def handler(message: QueueMessage) -> None:
        got.append(message.get_body())

    wrapped = base64.encodebytes(b"x" * 100).decode().replace("\n", space)
    await queue.send_message(wrapped)
    async with listening(queue, poison_queue, handler):
        await eventually(lambda: got)
    assert got == [b"x" * 100]


async def test_at_most_batch_size_and_threshold_messages_run_at_once(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    gates: list[asyncio.Event] = []
    running = most = finished = 0

    async def handler(_message: QueueMessage) -> None:
        nonlocal running, most, finished
        running += 1
        most = max(most, running)
        gates.append(gate := asyncio.Event())
        await gate.wait()
        running -= 1
        finished += 1

    peak = QUICK.batch_size + QUICK.new_batch_threshold
    for number in range(12):
        await send(queue, str(number))
    async with listening(queue, poison_queue, handler):
        await eventually(lambda: running == QUICK.batch_size)
        for _ in range(QUICK.batch_size - QUICK.new_batch_threshold):
            gates.pop(0).set()
        await eventually(lambda: running == peak)
        while finished < 12:
            await eventually(lambda: gates)
            gates.pop(0).set()
            await asyncio.sleep(0)
    assert most == peak


async def test_a_failing_message_comes_back_after_the_visibility_timeout_and_ends_in_poison(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    attempts: list[tuple[int | None, float]] = []

    async def handler(message: QueueMessage) -> None:
        attempts.append((message.dequeue_count, asyncio.get_running_loop().time()))
        raise InvocationFailedError

    await send(queue, "bad")
    async with listening(queue, poison_queue, handler):
        poisoned = await eventually(lambda: peek(poison_queue))
    assert poisoned == [base64.b64encode(b"bad").decode()]
    assert [number for number, _ in attempts] == [1, 2]
    assert attempts[1][1] - attempts[0][1] >= QUICK.visibility_timeout.total_seconds()
    assert await count(queue) == 0


async def test_a_message_that_cannot_be_decoded_goes_to_poison_without_running(
    queue: QueueClient, poison_queue: QueueClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(_message: QueueMessage) -> None:
        pytest.fail("the handler must not run")

    await queue.send_message("this is not base64!")
    async with listening(queue, poison_queue, handler):
        assert await eventually(lambda: peek(poison_queue)) == ["this is not base64!"]
    assert "is not base64" in caplog.text
    assert "this is not base64!" not in caplog.text


async def test_a_message_failing_in_a_poison_queue_stays_hidden_there(
    queue: QueueClient, queue_name: str
) -> None:
    attempts: list[int | None] = []

    async def handler(message: QueueMessage) -> None:
        attempts.append(message.dequeue_count)
        raise InvocationFailedError

    await send(queue, "bad")
    async with listening(queue, None, handler):
        await eventually(lambda: attempts)
    assert attempts == [1]
    assert await count(queue) == 1
    assert await peek(queue) == []


async def test_a_running_message_stays_hidden_beyond_its_lease(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    lease = timedelta(seconds=2)
    started: list[float] = []
    seen_by_others: list[str] = []

    async def handler(_message: QueueMessage) -> None:
        started.append(1.0)
        end = asyncio.get_running_loop().time() + 2 * lease.total_seconds()
        while asyncio.get_running_loop().time() < end:
            seen_by_others.extend(await peek(queue))
            await asyncio.sleep(0.1)

    await send(queue, "long")
    async with listening(queue, poison_queue, handler, lease):
        await eventually(lambda: started)

        async def is_empty() -> bool:
            return await count(queue) == 0

        await eventually(is_empty)
    assert (len(started), seen_by_others) == (1, [])


async def test_a_cut_off_message_has_failed_once_more(
    queue: QueueClient, poison_queue: QueueClient
) -> None:
    """It comes back after the visibility timeout, and the last time it goes to poison."""
    for attempt in range(1, QUICK.max_dequeue_count + 1):
        started = asyncio.Event()

        async def handler(message: QueueMessage) -> None:
            assert message.dequeue_count == attempt  # noqa: B023 - runs within this round
            started.set()  # noqa: B023
            await asyncio.Event().wait()

        if attempt == 1:
            await send(queue, "cut off")
        async with listening(queue, poison_queue, handler) as task:
            await asyncio.wait_for(started.wait(), 10)
            task.cancel()
        assert await peek(queue) == []
    assert await peek(poison_queue) == [base64.b64encode(b"cut off").decode()]
    assert await count(queue) == 0


async def test_a_queue_may_appear_after_the_listener(
    queue: QueueClient, poison_queue: QueueClient, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[bytes] = []

    async def handler(message: QueueMessage) -> None:
        got.append(message.get_body())

    # The poison queue does not exist yet: here it is the one that is listened to.
    async with listening(poison_queue, None, handler):
        await asyncio.sleep(0.5)  # several polls of a queue that is not there
        await poison_queue.create_queue()
        await send(poison_queue, "first")
        assert await eventually(lambda: got) == [b"first"]
    assert caplog.text == ""


async def test_the_app_gets_messages_of_the_queue_that_its_settings_name(
    queue: QueueClient, poison_queue: QueueClient, sample_settings: dict[str, str], tmp_path: Path
) -> None:
    launch = HostLaunch(app_dir=SAMPLE_APP, environment=sample_settings, spawn=forking.spawn)
    with functions_host(tmp_path, launch) as host:
        await send(queue, '"fail"')
        await send(queue, '"good"')
        async with httpx.AsyncClient(base_url=host.url) as client:

            async def attempts() -> list[Any]:
                seen = (await client.get("/api/seen")).json()["messages"]
                return seen if len(seen) == 3 else []

            seen = await eventually(attempts)
        await eventually(lambda: peek(poison_queue))
    assert sorted((m["body"], m["attempt"]) for m in seen) == [
        ("fail", 1),
        ("fail", 2),
        ("good", 1),
    ]
    log = host.log_path.read_text()
    assert "was moved from queue" in log
    assert '"good"' not in log


async def test_storage_that_is_down_at_start_is_reported_once_and_used_when_it_is_up(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    ports = StoragePorts(free_port(), free_port(), free_port())
    settings = {**sample_settings, "AzureWebJobsStorage": connection_string(ports)}
    launch = HostLaunch(app_dir=SAMPLE_APP, environment=settings, spawn=forking.spawn)
    with functions_host(tmp_path, launch) as host:
        await eventually(lambda: "cannot be read" in host.log_path.read_text())
        with azurite(tmp_path / "data", tmp_path, ports):
            await eventually(lambda: "answers again" in host.log_path.read_text())
            log = host.log_path.read_text()
    assert log.count("cannot be read") == 1
