"""Wake-ups, and messages put where queues may not exist yet."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from typing import Any, cast

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError, ServiceRequestError
from azure.storage.queue.aio import QueueServiceClient
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.queue import FOREVER, AzureQueues, Notice, WakeUp
from shared.jobs.requests import OWNER
from shared.state.errors import StorageUnavailableError
from shared.state.keys import Kind, new_id

OWNERS = st.from_regex(OWNER, fullmatch=True)
JOB, THREAD = new_id(Kind.JOB), new_id(Kind.THREAD)


@given(OWNERS, st.sampled_from([JOB, THREAD]))
def test_a_wake_up_comes_back_as_it_was(owner: str, lane: str) -> None:
    wake_up = WakeUp(owner, lane)
    assert WakeUp.parse(wake_up.to_body()) == wake_up


@given(OWNERS)
def test_a_notice_comes_back_as_it_was(owner: str) -> None:
    notice = Notice(owner, JOB)
    assert Notice.parse(notice.to_body()) == notice


def naming(owner: Any = "o", subject: Any = JOB) -> bytes:
    """A message of either kind."""
    return json.dumps({"owner": owner, "lane": subject, "job_id": subject}).encode()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"x"', b"5", b"null", b'{"owner":"o"}', b"\xff"),
        b"[" * 100_000,
        *(naming(owner=owner) for owner in ("", "x" * 129, "ö", "a b", "o\n", 5, None, ["o"])),
        *(naming(subject=odd) for odd in ("", "lane", "job_1", f"turn_{JOB[4:]}", 5, None, [JOB])),
    ],
)
@pytest.mark.parametrize("kind", [WakeUp, Notice])
def test_anything_else_is_refused(kind: type[WakeUp | Notice], body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json has words of its own for each
        kind.parse(body)


def test_a_thread_has_no_end_to_tell() -> None:
    with pytest.raises(ValueError, match="job"):
        Notice.parse(naming(subject=THREAD))


class StubQueue:
    """One queue, which may not exist yet."""

    def __init__(self) -> None:
        self.exists = True
        self.is_made_by_others = False
        self.error: Exception | None = None
        self.sent: list[tuple[str, int, int]] = []
        self.closed = False

    async def send_message(self, text: str, *, visibility_timeout: int, time_to_live: int) -> None:
        if self.error:
            raise self.error
        if not self.exists:
            await asyncio.sleep(0)
            raise ResourceNotFoundError("no such queue")
        self.sent.append((text, visibility_timeout, time_to_live))

    async def create_queue(self) -> None:
        if self.exists:
            raise ResourceExistsError("there is such a queue")
        self.exists = True
        if self.is_made_by_others:
            raise ResourceExistsError("somebody else was faster")

    async def close(self) -> None:
        self.closed = True


class StubQueueService:
    """The one method of `QueueServiceClient` that we use."""

    def __init__(self) -> None:
        self.queues: dict[str, StubQueue] = {}
        self.closed = False

    def get_queue_client(self, name: str) -> StubQueue:
        assert name not in self.queues, "one client for each queue"
        self.queues[name] = StubQueue()
        return self.queues[name]

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def service() -> StubQueueService:
    return StubQueueService()


@pytest.fixture
def queues(service: StubQueueService) -> AzureQueues:
    return AzureQueues(cast("QueueServiceClient", service), "lanes", "deliveries")


async def test_a_wake_up_is_put_in_base64_with_its_delay(
    service: StubQueueService, queues: AzureQueues
) -> None:
    await queues.wake("o", THREAD)
    await queues.wake("o", THREAD, 1.2)
    (text, delay, lifetime), (_, later, _) = service.queues["lanes"].sent
    assert WakeUp.parse(base64.b64decode(text)) == WakeUp("o", THREAD)
    assert (delay, later, lifetime) == (0, math.ceil(1.2), FOREVER)


@pytest.mark.parametrize("by_others", [False, True])
async def test_a_missing_queue_is_made(
    service: StubQueueService, queues: AzureQueues, by_others: bool
) -> None:
    await queues.reject("jobs", b"text")
    poison = service.queues["jobs-poison"]
    poison.exists, poison.is_made_by_others = False, by_others
    await queues.reject("jobs", b"\xffagain")
    assert [base64.b64decode(text) for text, _, _ in poison.sent] == [b"text", b"\xffagain"]


async def test_a_queue_that_many_miss_at_once_is_made_once(
    service: StubQueueService, queues: AzureQueues
) -> None:
    await queues.reject("jobs", b"text")
    poison = service.queues["jobs-poison"]
    poison.exists = False
    await asyncio.gather(*(queues.reject("jobs", b"again") for _ in range(5)))
    assert len(poison.sent) == 6


async def test_a_queue_that_is_down_is_unavailable_storage(
    service: StubQueueService, queues: AzureQueues
) -> None:
    await queues.wake("o", "l")
    service.queues["lanes"].error = ServiceRequestError("down")
    with pytest.raises(StorageUnavailableError, match="Storage Queue Data Contributor"):
        await queues.wake("o", "l")


async def test_closing_closes_everything(service: StubQueueService, queues: AzureQueues) -> None:
    await queues.wake("o", "l")
    await queues.aclose()
    assert service.closed
    assert all(queue.closed for queue in service.queues.values())
