"""Wake-ups, and messages put where queues may not exist yet."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue.aio import QueueServiceClient
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.queue import (
    FOREVER,
    MAX_DELAY_SECONDS,
    PUT_ATTEMPTS,
    QUEUE_STORAGE,
    AzureQueues,
    Notice,
    WakeUp,
)
from shared.jobs.requests import OWNER
from shared.state.errors import StorageUnavailableError
from shared.state.keys import Kind, new_id
from shared.state.service import Endpoint, StorageService
from shared.state.signing import SharedKey, queue_text

_MESSAGE = re.compile(
    rb'<\?xml version="1.0" encoding="utf-8"\?>'
    rb"<QueueMessage><MessageText>([A-Za-z0-9+/=]*)</MessageText></QueueMessage>"
)

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


@dataclass
class QueueService(httpx.AsyncBaseTransport):
    """Queue Storage in memory, behind the wire of a put."""

    missing: set[str] = field(default_factory=set[str])
    are_made_by_others: bool = False
    error: Exception | None = None
    refused: httpx.Response | None = None
    sent: list[tuple[str, bytes, dict[str, str]]] = field(
        default_factory=list[tuple[str, bytes, dict[str, str]]]
    )
    attempts: int = 0
    closed: list[str] = field(default_factory=list[str])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.attempts += 1
        if self.error:
            raise self.error
        if self.refused:
            return self.refused
        queue = request.url.path.split("/")[1]
        if queue in self.missing:
            await asyncio.sleep(0)
            return httpx.Response(404, headers={"x-ms-error-code": "QueueNotFound"})
        text = _MESSAGE.fullmatch(request.content)
        assert text, request.content
        self.sent.append((queue, base64.b64decode(text[1]), dict(request.url.params)))
        return httpx.Response(201)

    async def aclose(self) -> None:
        self.closed.append("service")

    def texts(self, queue: str) -> list[bytes]:
        return [body for name, body, _ in self.sent if name == queue]


@dataclass
class StubClient:
    """The one method of `QueueServiceClient` that a put needs, where the queue does not exist."""

    storage: QueueService

    async def create_queue(self, name: str) -> None:
        if name not in self.storage.missing:
            raise ResourceExistsError("there is such a queue")
        self.storage.missing.remove(name)
        if self.storage.are_made_by_others:
            raise ResourceExistsError("somebody else was faster")

    async def close(self) -> None:
        self.storage.closed.append("client")


@pytest.fixture
def storage() -> QueueService:
    return QueueService()


@pytest.fixture
def queues(storage: QueueService) -> AzureQueues:
    endpoint = Endpoint(
        "https://account.queue.core.windows.net", SharedKey("a", "a2V5", queue_text)
    )
    service = StorageService(QUEUE_STORAGE, endpoint, http=storage)
    client = cast("QueueServiceClient", StubClient(storage))
    return AzureQueues(lambda: client, service, "lanes", "deliveries")


async def test_a_wake_up_is_put_in_base64_with_its_delay(
    storage: QueueService, queues: AzureQueues
) -> None:
    await queues.wake("o", THREAD)
    await queues.wake("o", THREAD, 1.2)
    await queues.wake("o", THREAD, timedelta(days=30).total_seconds())
    (queue, body, now), (_, _, later), (_, _, latest) = storage.sent
    assert (queue, WakeUp.parse(body)) == ("lanes", WakeUp("o", THREAD))
    assert now == {"messagettl": str(FOREVER), "visibilitytimeout": "0"}
    assert later == {"messagettl": str(FOREVER), "visibilitytimeout": str(math.ceil(1.2))}
    assert int(latest["visibilitytimeout"]) == MAX_DELAY_SECONDS < timedelta(days=7).total_seconds()


@pytest.mark.parametrize("by_others", [False, True])
async def test_a_missing_queue_is_made(
    storage: QueueService, queues: AzureQueues, by_others: bool
) -> None:
    storage.missing, storage.are_made_by_others = {"jobs-poison"}, by_others
    await queues.reject("jobs", b"\xffagain")
    assert storage.texts("jobs-poison") == [b"\xffagain"]


async def test_a_queue_that_many_miss_at_once_is_made_once(
    storage: QueueService, queues: AzureQueues
) -> None:
    storage.missing = {"jobs-poison"}
    await asyncio.gather(*(queues.reject("jobs", b"again") for _ in range(5)))
    assert storage.texts("jobs-poison") == [b"again"] * 5


async def test_a_queue_that_is_down_is_unavailable_storage(
    storage: QueueService, queues: AzureQueues
) -> None:
    storage.error = httpx.ConnectError("down")
    with pytest.raises(StorageUnavailableError, match="Storage Queue Data Contributor"):
        await queues.wake("o", "l")
    assert storage.attempts == PUT_ATTEMPTS


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "AuthorizationPermissionMismatch", "Storage Queue Data Contributor"),
        (400, "RequestBodyTooLarge", "RequestBodyTooLarge"),
    ],
)
async def test_a_refused_message_says_why_and_is_not_repeated(
    storage: QueueService, queues: AzureQueues, status: int, code: str, told: str
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No &amp; no.</Message></Error>"
    storage.refused = httpx.Response(status, content=body.encode())
    with pytest.raises(StorageUnavailableError, match=told):
        await queues.wake("o", "l")
    assert storage.attempts == 1


@pytest.mark.parametrize("missing", [True, False])
async def test_closing_closes_everything(
    storage: QueueService, queues: AzureQueues, missing: bool
) -> None:
    """The library's client is opened only for a queue that has to be made."""
    storage.missing = {"lanes"} if missing else set()
    await queues.wake("o", "l")
    await queues.aclose()
    assert sorted(storage.closed) == (["client", "service"] if missing else ["service"])
