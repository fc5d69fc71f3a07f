"""When to try again, after how long, and who waits with whom."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from shared.foundry import errors
from shared.foundry.metrics import ClientMetrics
from shared.foundry.retry import (
    FIRST_BACKOFF_SECONDS,
    MAX_BACKOFF_SECONDS,
    Deadline,
    Gate,
    HeldBackError,
    RetryPolicy,
)

DOWN = errors.ServiceUnavailableError("down")


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimitedError("x"),
        DOWN,
        errors.ThreadBusyError("x"),
        errors.TimeoutError("x"),
    ],
)
def test_what_may_pass_is_tried_as_often_as_allowed(error: errors.FoundryError) -> None:
    policy = RetryPolicy(2)
    assert [policy.delay(error, n) is None for n in (1, 2, 3)] == [False, False, True]
    assert RetryPolicy(0).delay(error, 1) is None


@pytest.mark.parametrize(
    "error",
    [
        errors.FoundryError("x"),
        errors.ConfigurationError("x"),
        errors.AuthenticationError("x"),
        errors.PermissionDeniedError("x"),
        errors.NotFoundError("x"),
        errors.InvalidRequestError("x", retry_after=1),
        errors.ContentFilteredError("x"),
        errors.ProtocolError("x"),
        errors.QuotaExhaustedError("x"),
        HeldBackError("x", retry_after=1),
    ],
)
def test_what_will_not_pass_is_not_tried_again(error: errors.FoundryError) -> None:
    assert RetryPolicy(10).delay(error, 1) is None


def test_an_unknown_failure_is_tried_once_more() -> None:
    policy, unknown = RetryPolicy(10), errors.UnknownFailureError("x")
    assert [policy.may_repeat(unknown, n) for n in (1, 2, 3)] == [True, False, False]
    assert not RetryPolicy(0).may_repeat(unknown, 1)


def test_a_full_gate_does_not_pause_it() -> None:
    gate = Gate(ClientMetrics())
    assert not gate.heed(HeldBackError("full"), 8.0)
    assert not gate.heed(DOWN, 8.0)
    assert gate.heed(errors.RateLimitedError("x"), 8.0)


@pytest.mark.parametrize("failures", range(1, 11))
def test_the_wait_is_drawn_below_a_bound_that_doubles(failures: int) -> None:
    bound = min(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), MAX_BACKOFF_SECONDS)
    assert RetryPolicy(10, lambda: 0.0).delay(DOWN, failures) == 0
    assert RetryPolicy(10, lambda: 0.5).delay(DOWN, failures) == bound / 2
    drawn = [RetryPolicy(10).delay(DOWN, failures) or 0 for _ in range(200)]
    assert 0 <= min(drawn) < bound / 4
    assert bound * 3 / 4 < max(drawn) <= bound


@pytest.mark.parametrize("seconds", [0.0, 0.1, 7.0, 100.0])
def test_what_the_service_asks_for_is_kept(seconds: float) -> None:
    asked = errors.RateLimitedError("x", retry_after=seconds)
    assert RetryPolicy(3).delay(asked, 1) == seconds
    assert RetryPolicy(3).delay(asked, 3) == seconds


async def test_a_deadline_runs_down_to_zero_and_no_further() -> None:
    deadline = Deadline(0.05)
    assert 0 < deadline.remaining() <= 0.05
    await asyncio.sleep(0.06)
    assert deadline.remaining() == 0


async def passed_after(gate: Gate, seconds: float = 10) -> float:
    """How long it took to pass."""
    started = monotonic()
    async with gate.passing(Deadline(seconds)):
        return monotonic() - started


async def test_an_open_gate_holds_nobody() -> None:
    metrics = ClientMetrics()
    gate = Gate(metrics)
    async with gate.passing(Deadline(0)), gate.passing(Deadline(0)):
        pass
    assert metrics.rate_limit_waits == 0


async def test_a_pause_holds_everybody() -> None:
    metrics = ClientMetrics()
    gate = Gate(metrics)
    gate.pause(0.1)
    took = await asyncio.gather(*(passed_after(gate) for _ in range(5)))
    assert min(took) >= 0.09
    assert metrics.rate_limit_waits >= 5
    assert await passed_after(gate) < 0.09


async def test_a_longer_pause_counts_and_a_shorter_one_does_not() -> None:
    gate = Gate(ClientMetrics())
    gate.pause(0.15)
    gate.pause(0.01)
    waiting = asyncio.create_task(passed_after(gate))
    await asyncio.sleep(0.05)
    gate.pause(0.2)
    assert await waiting >= 0.24


async def test_a_pause_beyond_the_deadline_is_told_at_once() -> None:
    gate = Gate(ClientMetrics())
    gate.pause(60)
    with pytest.raises(HeldBackError, match="quota") as caught:
        await passed_after(gate, seconds=5)
    assert caught.value.retry_after == pytest.approx(60, abs=1)
    assert not caught.value.may_have_run


async def test_a_limit_lets_only_so_many_pass_at_a_time() -> None:
    gate = Gate(ClientMetrics(), limit=2)
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with gate.passing(Deadline(10)):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(7)))
    assert most == 2


async def test_waiting_for_a_place_is_bounded_by_the_deadline() -> None:
    gate = Gate(ClientMetrics(), limit=1)
    async with asyncio.timeout(2), gate.passing(Deadline(10)):
        with pytest.raises(HeldBackError) as caught:
            await passed_after(gate, seconds=0.05)
    assert not caught.value.may_have_run


async def test_who_fails_inside_gives_the_place_back() -> None:
    gate = Gate(ClientMetrics(), limit=1)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            async with gate.passing(Deadline(1)):
                raise RuntimeError
    assert await passed_after(gate) < 1


class Turns:
    """Turns that pass a gate and last until they are ended."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.inside: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, number: int) -> None:
        self._tasks += [asyncio.create_task(self._turn()) for _ in range(number)]
        await self.settle()

    async def _turn(self) -> None:
        async with self._gate.passing(Deadline(60)):
            ended = asyncio.get_running_loop().create_future()
            self.inside.append(ended)
            await ended

    async def end(self, number: int, error: Exception | None = None) -> None:
        ended, self.inside = self.inside[:number], self.inside[number:]
        for each in ended:
            if error is None:
                each.set_result(None)
            else:
                each.set_exception(error)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def open(self, pause: float) -> None:
        """Wait until a pause is over."""
        await asyncio.sleep(pause)
        await self.settle()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_after_a_pause_half_as_many_pass_and_more_with_each_answer() -> None:
    gate = Gate(ClientMetrics())
    turns = Turns(gate)
    await turns.begin(9)
    refused = errors.RateLimitedError("x", retry_after=0.05)
    await turns.end(1, refused)
    assert gate.heed(refused, 0.05)  # 8 are in flight
    gate.pause(0.05)  # another refusal of the same pause
    await turns.begin(50)
    await turns.end(8)  # answered: 4 + 8 may be in flight
    assert turns.inside == []
    await turns.open(0.06)
    assert len(turns.inside) == 12
    await turns.end(2)
    assert len(turns.inside) == 14
    await turns.aclose()


async def test_a_refused_burst_leaves_one_at_a_time() -> None:
    gate = Gate(ClientMetrics())
    turns = Turns(gate)
    for _ in range(3):
        gate.pause(0.02)
        await turns.begin(5)
        await turns.open(0.03)
        assert len(turns.inside) == 1
        await turns.end(1, errors.RateLimitedError("x"))
        await turns.settle()
        await turns.end(len(turns.inside), errors.RateLimitedError("x"))
    await turns.aclose()


async def test_a_limit_holds_beside_the_window() -> None:
    gate = Gate(ClientMetrics(), limit=3)
    turns = Turns(gate)
    await turns.begin(8)
    assert len(turns.inside) == 3
    gate.pause(0.02)
    await turns.end(3)
    await turns.open(0.03)
    for _ in range(2):
        assert len(turns.inside) <= 3
        await turns.end(2)
    await turns.aclose()


async def test_a_caller_behind_the_window_waits_no_longer_than_its_deadline() -> None:
    gate = Gate(ClientMetrics())
    gate.pause(0.01)
    async with gate.passing(Deadline(1)):
        with pytest.raises(HeldBackError, match="quota") as caught:
            await passed_after(gate, seconds=0.05)
    assert not caught.value.may_have_run
    assert await passed_after(gate) < 1
