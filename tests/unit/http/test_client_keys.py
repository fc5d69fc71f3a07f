"""Client keys in requests: where they are looked for, and how they are verified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from starlette.datastructures import Headers

from shared.http.client_keys import (
    CACHE_SECONDS,
    MAX_PAUSED,
    SEAL_SECONDS,
    WRONG_KEY_SECONDS,
    KeyVerifier,
    key_in,
)
from shared.problems import ProblemError
from shared.state.client_keys import ClientKey, ClientKeys, KeyTerms
from shared.state.errors import StorageUnavailableError
from shared.state.key_text import KeyText, new_key_id
from tests.support.fakes import FakeClock, FakeTable

KEY = "aos_0123456789_" + "a" * 51
OTHER = "aos_0123456789_" + "b" * 51


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer   {KEY} "},
        {"api-key": KEY},
        {"x-api-key": KEY},
        {"x-functions-key": KEY},
        {"Authorization": "Bearer unused", "x-api-key": KEY},
        {"Authorization": f"Bearer {KEY}", "api-key": KEY, "x-functions-key": "the-host's"},
    ],
)
def test_a_key_is_found_in_every_header_that_clients_use(headers: dict[str, str]) -> None:
    assert key_in(Headers(headers)) == KEY


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer eyJ0.eyJ1.c2ln"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"x-key": KEY},
        {"api-key": "sk-123"},
    ],
)
def test_anything_else_is_no_client_key(headers: dict[str, str]) -> None:
    assert key_in(Headers(headers)) is None


def test_two_different_keys_are_refused() -> None:
    twice = Headers(raw=[(b"api-key", KEY.encode()), (b"api-key", OTHER.encode())])
    for headers in (twice, Headers({"Authorization": f"Bearer {KEY}", "x-api-key": OTHER})):
        with pytest.raises(ProblemError, match="more than one credential") as caught:
            key_in(headers)
        assert caught.value.problem.status == 401
        assert KEY not in str(caught.value)


@dataclass
class Stage:
    """A verifier whose time passes only when told to."""

    table: FakeTable = field(default_factory=FakeTable)
    clock: FakeClock = field(default_factory=FakeClock)
    seconds: float = 1_000.0
    pauses: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.keys = ClientKeys(self.table, self.clock)
        self.verifier = KeyVerifier(
            self.keys, self.clock, timer=lambda: self.seconds, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def issue(self, expires_in: float | None = None) -> str:
        key_id, now = new_key_id(), self.clock()
        return await self.keys.issue(
            ClientKey(
                key_id=key_id,
                owner=f"key:{key_id}",
                label="test",
                roles=("Agents.Use",),
                terms=KeyTerms(key_id),
                created_by="test",
                created_at=now,
                expires_at=now + timedelta(seconds=expires_in) if expires_in else None,
            )
        )

    async def refusal(self, text: str) -> str:
        with pytest.raises(ProblemError) as caught:
            await self.verifier.verify(text)
        assert caught.value.problem.status == 401
        return str(caught.value)

    async def forge(self, key_id: str) -> str:
        """A key with a right check that was never issued, as a thief of the seal can make."""
        seal = await self.keys.seal()
        assert seal is not None
        return KeyText.new(key_id, seal).show()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.verifier.aclose()


async def test_an_issued_key_is_known_and_only_its_digest_is_stored(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    assert key.owner == f"key:{key.key_id}"
    assert text.rpartition("_")[2] not in repr(stage.table.partitions)


async def test_a_verified_key_is_read_again_only_when_its_time_is_over(stage: Stage) -> None:
    text = await stage.issue()
    await stage.verifier.verify(text)
    read = stage.table.reads
    stage.seconds += CACHE_SECONDS - 0.1
    await stage.verifier.verify(text)
    assert stage.table.reads == read
    stage.seconds += 0.2
    await stage.verifier.verify(text)
    assert stage.table.reads == read + 2  # the seal and the key


async def test_a_revoked_key_ends_when_its_time_is_over(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    await stage.keys.revoke(key.key_id)
    await stage.verifier.verify(text)
    stage.seconds += CACHE_SECONDS
    assert "was revoked" in await stage.refusal(text)


async def test_where_it_is_revoked_a_key_ends_at_once(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    await stage.keys.revoke(key.key_id)
    stage.verifier.forget(key.key_id)
    assert "was revoked" in await stage.refusal(text)


async def test_a_read_that_began_before_a_revocation_is_not_kept(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    stage.seconds += CACHE_SECONDS
    stale, entered, goes_on = await stage.keys.find(key.key_id), asyncio.Event(), asyncio.Event()
    find = stage.keys.find

    async def slow(_: str) -> ClientKey | None:
        entered.set()
        await goes_on.wait()
        return stale

    stage.keys.find = slow  # type: ignore[method-assign]
    before = asyncio.create_task(stage.verifier.verify(text))
    await entered.wait()
    stage.keys.find = find  # type: ignore[method-assign]
    await stage.keys.revoke(key.key_id)
    stage.verifier.forget(key.key_id)
    goes_on.set()
    await before
    assert "was revoked" in await stage.refusal(text)


async def test_the_first_key_works_at_once_where_it_was_made(stage: Stage) -> None:
    guess = KeyText.new(new_key_id(), b"g" * 32).show()
    await stage.refusal(guess)  # there is no seal yet, which is known for a while
    entered, goes_on, read = asyncio.Event(), asyncio.Event(), stage.keys.seal

    async def slow() -> None:
        entered.set()
        await goes_on.wait()

    stage.keys.seal = slow  # type: ignore[method-assign]
    stage.seconds += SEAL_SECONDS
    before = asyncio.create_task(stage.refusal(guess))
    await entered.wait()
    stage.keys.seal = read  # type: ignore[method-assign]
    text = await stage.issue()
    stage.verifier.forget(text.split("_")[1])
    goes_on.set()
    await before
    assert (await stage.verifier.verify(text)).label == "test"


async def test_a_key_ends_when_it_expires_however_recently_it_was_read(stage: Stage) -> None:
    text = await stage.issue(expires_in=10)
    await stage.verifier.verify(text)
    stage.clock.advance(10)
    assert "has expired" in await stage.refusal(text)


async def test_a_thousand_requests_with_a_new_key_share_two_reads(stage: Stage) -> None:
    text = await stage.issue()
    stage.table.reads = 0
    found = await asyncio.gather(*(stage.verifier.verify(text) for _ in range(1_000)))
    assert len({key.key_id for key in found}) == 1
    assert stage.table.reads == 2


async def test_a_cancelled_request_does_not_cancel_the_read_of_the_others(stage: Stage) -> None:
    text = await stage.issue()
    first, second = (asyncio.create_task(stage.verifier.verify(text)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).label == "test"


async def test_ten_thousand_guesses_cost_no_read_and_lock_nobody_out(stage: Stage) -> None:
    await stage.issue()
    unread = await stage.issue()
    stage.table.reads = 0
    guesses = [KeyText.new(new_key_id(), b"g" * 32).show() for _ in range(10_000)]
    for guess in guesses:
        await stage.refusal(guess)
    assert stage.table.reads == 1  # the seal
    assert (await stage.verifier.verify(unread)).label == "test"


async def test_guesses_of_a_known_keys_secret_cost_no_read(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    read = stage.table.reads
    for _ in range(100):
        assert "not valid" in await stage.refusal(guessed(key.key_id))
    assert stage.table.reads == read
    await stage.verifier.verify(text)


def guessed(key_id: str) -> str:
    return KeyText.new(key_id, b"g" * 32).show()


async def test_a_key_whose_row_is_gone_is_looked_up_once(stage: Stage) -> None:
    await stage.issue()
    gone = await stage.forge(new_key_id())
    stage.table.reads = 0
    for _ in range(100):
        await stage.refusal(gone)
    assert stage.table.reads == 2


async def test_before_the_first_key_no_key_is_looked_up(stage: Stage) -> None:
    for _ in range(100):
        await stage.refusal(KEY)
    assert stage.table.reads == 1
    first = await stage.issue()
    assert "not valid" in await stage.refusal(first)
    stage.seconds += SEAL_SECONDS
    assert (await stage.verifier.verify(first)).label == "test"


async def test_a_wrong_key_waits_and_a_flood_does_not_pile_up(stage: Stage) -> None:
    await stage.issue()
    free = asyncio.Event()

    async def hold(seconds: float) -> None:
        stage.pauses.append(seconds)
        await free.wait()

    stage.verifier = KeyVerifier(stage.keys, stage.clock, timer=lambda: 0.0, sleep=hold)
    refusals = [asyncio.create_task(stage.refusal(KEY)) for _ in range(3 * MAX_PAUSED)]
    done, waiting = await asyncio.wait(refusals, timeout=0.5)
    assert (len(done), len(waiting)) == (2 * MAX_PAUSED, MAX_PAUSED)
    assert set(stage.pauses) == {WRONG_KEY_SECONDS}
    free.set()
    await asyncio.gather(*waiting)


async def test_while_storage_is_down_only_cached_keys_work(stage: Stage) -> None:
    text, unread = await stage.issue(), await stage.issue()
    await stage.verifier.verify(text)
    stage.table.available = False
    await stage.verifier.verify(text)
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            await stage.verifier.verify(unread)
    stage.table.available = True
    await stage.verifier.verify(unread)


async def test_terms_survive_their_row(stage: Stage) -> None:
    text = await stage.issue()
    key = await stage.verifier.verify(text)
    assert key == replace(key, terms=KeyTerms(key.key_id))
    limited = KeyTerms.from_json(
        {"key_id": "a", "models": ["m"], "tools": [], "budgets": [{"tokens": 5, "per": "day"}]}
    )
    assert (limited.models, limited.tools) == (("m",), ())
    assert KeyTerms.from_json(limited.to_json()) == limited
