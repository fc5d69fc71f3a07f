"""What the queue listener says to storage, call by call, beside the recorded real one.

Recorded: Microsoft.Azure.WebJobs 3.0.48 with Extensions.Storage.Queues 5.3.10 on Azurite.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import islice
from urllib.parse import parse_qsl

import pytest
from azure.functions import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.azurite import StoragePorts, connection_string
from local.host.invocation import InvocationFailedError
from local.host.queues import MESSAGE_LEASE, Pauses
from local.host.settings import QueueSettings
from local.services import Azurite
from tests.support.storage_meter import StorageMeter
from tests.support.waiting import eventually

from .test_host_queues import listening

FETCH = "GET queue/messages numofmessages=16 visibilitytimeout=600"
DELETE = "DELETE queue/messages/ID popreceipt"
TO_POISON = "POST queue-poison/messages"
RECORDED = {
    "a message that succeeds": [FETCH, DELETE],
    "a message that fails twice, of two": [
        FETCH,
        "PUT queue/messages/ID popreceipt visibilitytimeout=1",
        FETCH,
        TO_POISON,  # 404: there is no such queue yet
        "PUT queue-poison",
        TO_POISON,
        DELETE,
    ],
    "a text that is no base64": [FETCH, TO_POISON, "PUT queue-poison", TO_POISON, DELETE],
    "a queue that is not there": [FETCH, "GET queue comp=metadata", "GET queue comp=metadata"],
    "a message that runs beyond half its lease": [
        FETCH.replace("600", "2"),
        "PUT queue/messages/ID popreceipt visibilitytimeout=2",
        DELETE,
    ],
    "a message that fails in a poison queue": [FETCH.replace("queue/", "queue-poison/")],
}
"""The calls in order, those between that find the queue empty left out."""
SETTINGS = QueueSettings(
    max_dequeue_count=2,
    visibility_timeout=timedelta(seconds=1),
    max_polling_interval=timedelta(seconds=0.2),
)


class Wire:
    """A queue and its poison queue behind a meter."""

    def __init__(self, meter: StorageMeter, queue: QueueClient, poison: QueueClient) -> None:
        self.queue, self.poison = queue, poison
        self._meter = meter

    def calls(self) -> list[str]:
        """The calls so far, without those that repeat the one before."""
        shown = [self._shown(call) for call in self._meter.calls]
        return [call for i, call in enumerate(shown) if i == 0 or shown[i - 1] != call]

    def settled(self) -> list[str]:
        """The calls so far without the fetches, which go on while messages are settled."""
        return [call for call in self.calls() if "numofmessages" not in call]

    def forget(self) -> None:
        self._meter.calls.clear()

    def _shown(self, call: str) -> str:
        method, _, address = call.partition(" ")
        path, _, query = address.partition("?")
        path = path.replace(f"/{self.queue.account_name}/", "").replace(
            self.queue.queue_name, "queue"
        )
        path = re.sub("messages/.+", "messages/ID", path)
        words = [n if n == "popreceipt" else f"{n}={v}" for n, v in parse_qsl(query)]
        return " ".join([method, path, *sorted(words)])


def _settled(name: str) -> list[str]:
    return [call for call in RECORDED[name] if "numofmessages" not in call]


@pytest.fixture
async def wire(azurite: Azurite, queue_name: str) -> AsyncIterator[Wire]:
    meter = StorageMeter(azurite.ports.queue)
    ports = StoragePorts(azurite.ports.blob, meter.port, azurite.ports.table)
    name, text = queue_name, connection_string(ports)
    async with (
        meter.running(),
        QueueClient.from_connection_string(text, name) as queue,
        QueueClient.from_connection_string(text, f"{name}-poison") as poison,
    ):
        yield Wire(meter, queue, poison)


async def succeed(_: QueueMessage) -> None: ...


async def fail(_: QueueMessage) -> None:
    raise InvocationFailedError


async def started_with(wire: Wire, text: str) -> None:
    await wire.queue.create_queue()
    await wire.queue.send_message(text)
    wire.forget()


def good() -> str:
    return base64.b64encode(b"good").decode()


async def test_a_message_that_succeeds(wire: Wire) -> None:
    await started_with(wire, good())
    async with listening(wire.queue, wire.poison, succeed, settings=SETTINGS):
        await eventually(lambda: DELETE in wire.calls())
    assert wire.calls()[:2] == RECORDED["a message that succeeds"]


async def test_a_message_that_fails_to_its_end(wire: Wire) -> None:
    await started_with(wire, good())
    async with listening(wire.queue, wire.poison, fail, settings=SETTINGS):
        await eventually(lambda: DELETE in wire.calls())
    assert wire.settled() == _settled("a message that fails twice, of two")
    copy = (await wire.poison.peek_messages())[0]
    assert (copy.content, copy.dequeue_count) == (good(), 0)
    assert copy.expires_on
    assert copy.inserted_on
    assert copy.expires_on - copy.inserted_on == timedelta(days=7)


async def test_a_text_that_is_no_base64(wire: Wire) -> None:
    await started_with(wire, "no base64!")
    async with listening(wire.queue, wire.poison, succeed, settings=SETTINGS):
        await eventually(lambda: DELETE in wire.calls())
    assert wire.settled() == _settled("a text that is no base64")


async def test_a_queue_that_is_not_there(wire: Wire) -> None:
    async with listening(wire.queue, wire.poison, succeed, settings=SETTINGS):
        await asyncio.sleep(1)
        assert len(wire.calls()) == 2  # one fetch, then looks whether the queue is there
        assert wire.calls() == RECORDED["a queue that is not there"][:2]
        await wire.queue.create_queue()
        await eventually(lambda: wire.calls()[-1] == FETCH)


async def test_a_message_that_runs_beyond_half_its_lease(wire: Wire) -> None:
    async def slow(_: QueueMessage) -> None:
        await asyncio.sleep(1.5)

    await started_with(wire, good())
    lease = timedelta(seconds=2)
    async with listening(wire.queue, wire.poison, slow, lease, SETTINGS):
        await eventually(lambda: DELETE in wire.calls())
    assert wire.settled() == _settled("a message that runs beyond half its lease")
    assert timedelta(minutes=10) == MESSAGE_LEASE


async def test_a_message_that_fails_in_a_poison_queue_is_left_hidden(wire: Wire) -> None:
    failed = asyncio.Event()

    async def failing(_: QueueMessage) -> None:
        failed.set()
        raise InvocationFailedError

    await wire.poison.create_queue()
    await wire.poison.send_message(good())
    wire.forget()
    async with listening(wire.poison, None, failing, settings=SETTINGS):
        await asyncio.wait_for(failed.wait(), 10)
        await asyncio.sleep(0.5)
    assert wire.calls() == RECORDED["a message that fails in a poison queue"]


def test_the_pauses_between_polls_of_an_empty_queue() -> None:
    def rounded(longest: float, count: int) -> list[float]:
        return [round(p, 2) for p in islice(Pauses(timedelta(seconds=longest)), count)]

    assert rounded(60, 5) == [0.1, 0.2, 0.3, 0.5, 0.8]
    assert rounded(2, 8)[-2:] == [2, 2]
    assert rounded(0, 2) == [0.1, 0.1]
