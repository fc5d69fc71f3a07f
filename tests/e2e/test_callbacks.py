"""Callbacks and replies through the whole app, to receivers good and bad."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from local.services import FunctionsHost
from tests.support.asking import ended, submit
from tests.support.receiver import Receiver, receiver
from tests.support.served import Deployment
from tests.support.waiting import eventually

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()

REPLIES = f"replies-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def telling(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, FunctionsHost]]:
    """An app that may call this machine, and `localhost` as any other name."""
    own = Deployment(deployment.storage, deployment.foundry)
    settings = {
        "CALLBACK_SECRET": SECRET,
        "CALLBACK_HOSTS": "localhost",
        "CALLBACK_TIMEOUT": "2",
        "REPLY_QUEUES": REPLIES,
        "TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1": "true",
    }
    with own.serve(tmp_path_factory.mktemp("telling"), **settings) as host:
        yield own, host


@pytest.fixture
async def app_caller(telling: tuple[Deployment, FunctionsHost]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{telling[1].url}/api/", timeout=30) as client:
        yield client


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


async def delivery(caller: httpx.AsyncClient, job_id: str, state: str) -> None:
    """Wait until a job's callback has a delivery status."""

    async def is_so() -> bool:
        return (await caller.get(f"jobs/{job_id}")).json()["delivery"] == state

    await eventually(is_so)


async def test_the_end_of_a_job_is_called_back_and_replied(
    app_caller: httpx.AsyncClient, telling: tuple[Deployment, FunctionsHost], there: Receiver
) -> None:
    job_id = await submit(
        app_caller, message="Hello", callback_url=f"{there.url}/end", reply_queue=REPLIES
    )
    (got,) = await there.has(1)
    told = json.loads(got.body)
    assert (told["type"], told["data"]["job_id"]) == ("job.succeeded", job_id)
    assert told["data"]["owner"] == "key"
    assert told["data"]["result"]["content"] == "You said: Hello"
    assert (got.target, got.headers["webhook-id"]) == ("/end", job_id)
    await delivery(app_caller, job_id, "delivered")
    (reply,) = await telling[0].waiting(REPLIES)
    assert base64.b64decode(reply) == got.body


async def test_what_a_receiver_did_not_take_is_sent_again(app_caller: httpx.AsyncClient) -> None:
    """After an error, and after what is no answer at all; each at its time."""
    bad = ["500 Oops", "200 " + "x" * 10_000, "500 Oops\r\nX: " + "y" * 100_000]

    async def repeated(answer: str) -> None:
        async with receiver() as there:
            there.answers = [answer]
            job_id = await submit(app_caller, message="Hello", callback_url=there.url)
            first, second = await there.has(2)
            assert first.body == second.body
            assert first.headers["webhook-id"] == second.headers["webhook-id"] == job_id
            await delivery(app_caller, job_id, "delivered")

    await asyncio.gather(*(repeated(answer) for answer in bad))


async def test_no_address_of_this_machine_or_network_is_ever_reached(
    app_caller: httpx.AsyncClient,
    telling: tuple[Deployment, FunctionsHost],
    there: Receiver,
) -> None:
    """By redirect, and by a name that was allowed and resolves to loopback."""
    async with receiver() as inner:
        there.answers = [
            "307 There\r\nLocation: http://169.254.169.254/metadata/instance",
            f"302 There\r\nLocation: {inner.url}/secret",
        ]
        for _ in range(2):
            await submit(app_caller, message="Hello", callback_url=there.url)
        named = f"https://localhost/{inner.port}"
        job_id = await submit(app_caller, message="Hello", callback_url=named)
        await there.has(4)

        async def was_tried() -> bool:
            rows = await telling[0].rows(kind=f"out:{job_id}")
            return bool(rows) and "last_error" in rows[0]

        await eventually(was_tried)
        (row,) = await telling[0].rows(kind=f"out:{job_id}")
        assert "not an address of the public internet" in row["last_error"]
        assert inner.connections == 0


async def test_hosts_that_are_not_allowed_are_refused_at_once(
    app_caller: httpx.AsyncClient,
) -> None:
    for url in ("https://evil.example/", "http://169.254.169.254/", "http://localhost/"):
        refused = await app_caller.post("jobs", json={"message": "Hi", "callback_url": url})
        assert (refused.status_code, refused.json()["code"]) == (422, "outlet_refused")
        assert refused.json()["errors"][0]["field"] == "callback_url"
    refused = await app_caller.post("jobs", json={"message": "Hi", "reply_queue": "other"})
    assert (refused.status_code, refused.json()["code"]) == (422, "outlet_refused")


async def test_a_dead_receiver_delays_nobody(
    app_caller: httpx.AsyncClient, there: Receiver
) -> None:
    """Thirty callbacks to a receiver that never answers, and jobs beside them."""

    async with receiver() as dead:
        dead.gate.clear()
        for _ in range(30):
            await submit(app_caller, message="Hi", callback_url=dead.url)
        await dead.has(4)
        for number in range(20):
            await ended(app_caller, await submit(app_caller, message=f"quick {number}"))
        living = await submit(app_caller, message="Hi", callback_url=there.url)
        await there.has(1, seconds=15)
        await delivery(app_caller, living, "delivered")


async def test_the_end_is_still_to_be_told_when_the_process_was_killed(
    deployment: Deployment, there: Receiver, tmp_path: Path
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    settings = {
        "CALLBACK_SECRET": SECRET,
        "TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1": "true",
    }
    with own.serve(tmp_path, **settings) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            there.gate.clear()
            job_id = await submit(caller, message="Hello", callback_url=there.url)
            await there.has(1)
            host.kill()
            there.gate.set()
            host.restart()
            (row,) = await own.rows(kind="out:")
            assert (row["status"], row["attempts"].value) == ("pending", 1)
            assert (await caller.get(f"jobs/{job_id}")).json()["delivery"] == "pending"
    markers = [key for partition, key, _ in await own.stored() if partition.startswith("$del")]
    assert markers == [f"key|{job_id}"]
