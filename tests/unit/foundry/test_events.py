"""A turn that emits events, as an asynchronous generator."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from contextvars import ContextVar

import pytest

from shared.foundry.errors import ServiceUnavailableError
from shared.foundry.events import Emit, MessageDelta, events_of
from shared.foundry.models import FinishReason, TurnResult

RESULT = TurnResult("Hello", FinishReason.STOP, "resp_1", "gpt-4o")
WAIT_SECONDS = 5.0


class Endless:
    """A turn that emits one piece and then waits until it is cancelled."""

    def __init__(self, on_cancel: BaseException | None = None) -> None:
        self.on_cancel = on_cancel
        self.cleaned_up = False

    async def __call__(self, emit: Emit) -> TurnResult:
        emit(MessageDelta("Hel"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            self.cleaned_up = True
            if self.on_cancel:
                raise self.on_cancel from None
            raise
        raise AssertionError("unreachable")


async def test_events_come_in_order_and_the_result_last() -> None:
    async def run(emit: Emit) -> TurnResult:
        emit(MessageDelta("Hel"))
        await asyncio.sleep(0)
        emit(MessageDelta("lo"))
        return RESULT

    events = [event async for event in events_of(run)]
    assert events == [MessageDelta("Hel"), MessageDelta("lo"), RESULT]


async def test_an_event_is_yielded_while_the_turn_runs() -> None:
    async with asyncio.timeout(WAIT_SECONDS), aclosing(events_of(Endless())) as events:
        assert await anext(events) == MessageDelta("Hel")


async def test_a_failure_follows_the_events_before_it() -> None:
    async def run(emit: Emit) -> TurnResult:
        emit(MessageDelta("Hel"))
        raise ServiceUnavailableError("broken")

    events = events_of(run)
    assert await anext(events) == MessageDelta("Hel")
    with pytest.raises(ServiceUnavailableError, match="broken"):
        await anext(events)


async def test_closing_cancels_the_turn_and_waits_for_its_end() -> None:
    turn = Endless()
    async with asyncio.timeout(WAIT_SECONDS), aclosing(events_of(turn)) as events:
        await anext(events)
    assert turn.cleaned_up


async def test_a_consumer_that_is_cancelled_cancels_the_turn_and_waits_for_its_end() -> None:
    turn, begun = Endless(), asyncio.Event()

    async def consume() -> None:
        async for _ in events_of(turn):
            begun.set()

    consumer = asyncio.create_task(consume())
    async with asyncio.timeout(WAIT_SECONDS):
        await begun.wait()
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
    assert turn.cleaned_up


async def test_what_a_turn_raises_when_it_is_closed_is_raised() -> None:
    events = events_of(Endless(ServiceUnavailableError("the lease is lost")))
    await anext(events)
    with pytest.raises(ServiceUnavailableError, match="the lease is lost"):
        await events.aclose()


async def test_a_generator_that_never_began_starts_no_turn() -> None:
    turn = Endless()
    await events_of(turn).aclose()
    assert not turn.cleaned_up


async def test_the_turn_sees_the_context_of_its_consumer() -> None:
    caller = ContextVar("caller", default="none")

    async def run(emit: Emit) -> TurnResult:
        emit(MessageDelta(caller.get()))
        return RESULT

    caller.set("ada")
    assert await anext(events_of(run)) == MessageDelta("ada")
