"""What a receiver of callbacks sees, and where callbacks never go."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.commands.receiver_secret import main
from shared.config import CallbackSettings
from shared.jobs.callbacks.webhooks import (
    MAX_AT_ONCE,
    Callback,
    CallbackError,
    Webhooks,
    receiver_secret,
)
from tests.support.receiver import Receiver, receiver
from tests.support.waiting import eventually

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
OTHER = "whsec_" + base64.b64encode(b"the secret that came before it").decode()
CALLBACK = Callback("job_1", b'{"type":"job.succeeded"}')
PAGE = Path(__file__).parents[4] / "docs" / "jobs.md"


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    """As in production, except that `http://127.0.0.1` may be called."""
    made = Webhooks(CallbackSettings(callback_secret=f"{SECRET},{OTHER}", loopback_callbacks=True))
    yield made
    await made.aclose()


@pytest.fixture
async def strict() -> AsyncIterator[Webhooks]:
    """As in production."""
    made = Webhooks(CallbackSettings(callback_secret=SECRET, callback_timeout=5))
    yield made
    await made.aclose()


async def test_the_documented_check_accepts_a_callback(there: Receiver, webhooks: Webhooks) -> None:
    await webhooks.post(f"{there.url}/end?x=1", CALLBACK, datetime.now(UTC))
    (got,) = there.received
    assert (got.target, got.body) == ("/end?x=1", CALLBACK.body)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "job_1"
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 5

    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example
    names: dict[str, Any] = {}
    exec(example[1], names)  # noqa: S102 - the page's own example
    is_genuine = names["is_genuine"]
    mine, before = (receiver_secret(secret, "127.0.0.1") for secret in (SECRET, OTHER))
    assert is_genuine(mine, got.headers, got.body)
    assert is_genuine(before, got.headers, got.body)
    assert not is_genuine(mine, got.headers, got.body + b" ")
    for secret in (SECRET, receiver_secret(SECRET, "hooks.contoso.com")):
        assert not is_genuine(secret, got.headers, got.body)
    assert not is_genuine("whsec_" + base64.b64encode(b"x" * 24).decode(), got.headers, got.body)
    assert not is_genuine(mine, {**got.headers, "webhook-id": "job_2"}, got.body)
    old = {**got.headers, "webhook-timestamp": str(int(time.time()) - 301)}
    assert not is_genuine(mine, old, got.body)


def test_a_receivers_secret_is_printed_as_it_signs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALLBACK_SECRET", f"{SECRET},{OTHER}")
    command = re.search(r"python -m shared.commands.receiver_secret (\S+)\n", PAGE.read_text())
    assert command
    assert main([command[1]]) == 0
    key = hmac.digest(b"a secret of at least 24 bytes", b"hooks.contoso.com", hashlib.sha256)
    printed = capsys.readouterr().out.split()
    assert printed[0] == "whsec_" + base64.b64encode(key).decode()
    assert printed[1] == receiver_secret(OTHER, "HOOKS.contoso.com")
    monkeypatch.delenv("CALLBACK_SECRET")
    with pytest.raises(SystemExit):
        main(["hooks.contoso.com"])


async def test_the_signature_is_that_of_standard_webhooks(
    there: Receiver, webhooks: Webhooks
) -> None:
    await webhooks.post(there.url, CALLBACK, datetime.fromtimestamp(1_700_000_000, UTC))
    signed = b"job_1.1700000000." + CALLBACK.body
    expected = [
        "v1," + base64.b64encode(_signature(key, signed)).decode()
        for key in (b"a secret of at least 24 bytes", b"the secret that came before it")
    ]
    assert there.received[0].headers["webhook-signature"].split(" ") == expected


def _signature(key: bytes, signed: bytes) -> bytes:
    own = hmac.digest(key, b"127.0.0.1", hashlib.sha256)
    return hmac.digest(own, signed, hashlib.sha256)


@pytest.mark.parametrize(
    "answer",
    [
        "200 " + "x" * 10_000,
        "200 " + "x" * 1_000_000,
        "500 Oops\r\nX-Long: " + "y" * 100_000,
        "500 Oops" + "\r\nX-Many: y" * 100_000,
        "200 OK\r\nContent-Length: -5",
        "503 Busy\r\nRetry-After: " + "9" * 5_000,
        "503 Busy\r\nRetry-After: \u00b2",
        "5\x00\x01",
    ],
)
async def test_nonsense_from_a_receiver_is_a_failed_attempt(
    there: Receiver, webhooks: Webhooks, answer: str
) -> None:
    there.answers = [answer]
    with pytest.raises(CallbackError) as caught:
        await webhooks.post(there.url, CALLBACK, datetime.now(UTC))
    assert len(str(caught.value)) < 400
    assert caught.value.retry_after < 1e9


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "299 Fine"])
async def test_any_2xx_is_taken(there: Receiver, webhooks: Webhooks, status: str) -> None:
    there.answers = [status]
    await webhooks.post(there.url, CALLBACK, datetime.now(UTC))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(
    there: Receiver, webhooks: Webhooks, status: int
) -> None:
    async with receiver() as elsewhere:
        there.answers = [f"{status} Over there\r\nLocation: {elsewhere.url}/latest/meta-data"]
        with pytest.raises(CallbackError, match=f"answered {status}"):
            await webhooks.post(there.url, CALLBACK, datetime.now(UTC))
        assert elsewhere.connections == 0


async def test_a_refusal_says_what_the_receiver_wants(there: Receiver, webhooks: Webhooks) -> None:
    there.answers = ["503 Busy\r\nRetry-After: 120", "410 Gone", "500 Oops"]
    refusals: list[tuple[float, bool]] = []
    for _ in range(3):
        with pytest.raises(CallbackError) as caught:
            await webhooks.post(there.url, CALLBACK, datetime.now(UTC))
        refusals.append((caught.value.retry_after, caught.value.is_final))
    assert refusals == [(120, False), (0, True), (0, False)]


async def test_a_receiver_that_says_nothing_is_left(there: Receiver) -> None:
    there.gate.clear()
    settings = CallbackSettings(
        callback_secret=SECRET, callback_timeout=0.2, loopback_callbacks=True
    )
    webhooks = Webhooks(settings)
    with pytest.raises(CallbackError, match=r"no answer within 0\.2 s"):
        await webhooks.post(there.url, CALLBACK, datetime.now(UTC))
    await webhooks.aclose()


async def test_a_receiver_that_is_not_there_is_a_failure(webhooks: Webhooks) -> None:
    async with receiver() as gone:
        url = gone.url
    with pytest.raises(CallbackError, match="no answer"):
        await webhooks.post(url, CALLBACK, datetime.now(UTC))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0", "127.1"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_ever_connects_to_this_machine(
    there: Receiver, strict: Webhooks, scheme: str, host: str
) -> None:
    with pytest.raises(CallbackError, match="no answer"):
        await strict.post(f"{scheme}://{host}:{there.port}/", CALLBACK, datetime.now(UTC))
    assert there.connections == 0


async def test_the_exception_for_tests_does_not_reach_names(
    there: Receiver, webhooks: Webhooks
) -> None:
    """A name that resolves to loopback, today or at the second look, is refused all the same."""
    with pytest.raises(CallbackError, match="not an address of the public internet"):
        await webhooks.post(f"http://localhost:{there.port}/", CALLBACK, datetime.now(UTC))
    assert there.connections == 0


async def test_the_metadata_service_is_refused(strict: Webhooks) -> None:
    for address in ("169.254.169.254", "168.63.129.16", "[fe80::1]", "100.100.100.200"):
        with pytest.raises(CallbackError, match="not an address of the public internet"):
            await strict.post(f"http://{address}/", CALLBACK, datetime.now(UTC))


async def test_a_host_is_busy_while_it_has_its_share(there: Receiver, webhooks: Webhooks) -> None:
    there.gate.clear()
    async with asyncio.TaskGroup() as group:
        for _ in range(MAX_AT_ONCE):
            assert not webhooks.is_busy(there.url)
            group.create_task(webhooks.post(there.url, CALLBACK, datetime.now(UTC)))
            await asyncio.sleep(0)
        await eventually(lambda: len(there.received) == MAX_AT_ONCE)
        assert webhooks.is_busy(f"{there.url}/another/path")
        assert not webhooks.is_busy("https://elsewhere.example/")
        there.gate.set()
    assert not webhooks.is_busy(there.url)
