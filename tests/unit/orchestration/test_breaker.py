"""The circuit breaker, state by state."""

from __future__ import annotations

import pytest

from shared.foundry.errors import (
    ContentFilteredError,
    FoundryError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    QuotaExhaustedError,
    RateLimitedError,
    ServiceUnavailableError,
    TimeoutError,
    UnknownFailureError,
)
from shared.foundry.retry import HeldBackError
from shared.orchestration.breaker import COOL_DOWN_SECONDS, FAILURES_TO_OPEN, Breaker, Circuit

from .conftest import Ticks

OUTAGES = [
    ProtocolError,
    QuotaExhaustedError,
    ServiceUnavailableError,
    TimeoutError,
    UnknownFailureError,
]
ANSWERS = [ContentFilteredError, InvalidRequestError, NotFoundError, RateLimitedError]
"""Failures that a model which works reports."""


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def breaker(ticks: Ticks) -> Breaker:
    return Breaker("model", ticks)


def ask(breaker: Breaker, error: BaseException | None = None) -> bool:
    """Whether a request passed; it ends with ``error``."""
    permit = breaker.admit()
    if permit is None:
        return False
    permit.__exit__(type(error) if error else None, error, None)
    return True


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert ask(breaker, ServiceUnavailableError("down"))


@pytest.mark.parametrize("kind", OUTAGES)
def test_it_opens_after_five_failures_in_a_row(breaker: Breaker, kind: type[FoundryError]) -> None:
    for number in range(FAILURES_TO_OPEN):
        assert breaker.circuit is Circuit.CLOSED, number
        assert ask(breaker, kind("down"))
    assert breaker.circuit is Circuit.OPEN
    assert not ask(breaker)


def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, FAILURES_TO_OPEN - 1)
    ask(breaker)
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.circuit is Circuit.CLOSED


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_refused_message_is_no_failure_of_the_model(
    breaker: Breaker, kind: type[FoundryError]
) -> None:
    for _ in range(FAILURES_TO_OPEN * 2):
        ask(breaker, kind("no", request_id="r"))
    fail(breaker, FAILURES_TO_OPEN - 1)
    ask(breaker, kind("no", request_id="r"))
    fail(breaker, 1)
    assert breaker.circuit is Circuit.CLOSED


@pytest.mark.parametrize("error", [InvalidRequestError("no"), HeldBackError("wait")])
def test_a_message_that_was_not_sent_says_nothing_of_the_model(
    breaker: Breaker, error: FoundryError
) -> None:
    fail(breaker, FAILURES_TO_OPEN - 1)
    ask(breaker, error)
    fail(breaker, 1)
    assert breaker.circuit is Circuit.OPEN


def test_silence_within_the_time_of_a_caller_in_haste_is_not_counted(breaker: Breaker) -> None:
    def ask_in_haste(error: FoundryError) -> None:
        permit = breaker.admit(has_time=False)
        assert permit is not None
        permit.__exit__(type(error), error, None)

    for _ in range(FAILURES_TO_OPEN):
        ask_in_haste(TimeoutError("no answer within 1 s"))
    assert breaker.circuit is Circuit.CLOSED
    for _ in range(FAILURES_TO_OPEN):
        ask_in_haste(TimeoutError("the service gave up", status_code=408))
    assert breaker.circuit is Circuit.OPEN


def test_after_the_cool_down_one_probe_passes_and_closes_it(breaker: Breaker, ticks: Ticks) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    ticks.now += COOL_DOWN_SECONDS - 0.1
    assert breaker.admit() is None
    ticks.now += 0.1
    probe = breaker.admit()
    assert probe is not None
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.admit() is None
    with probe:
        pass
    assert breaker.circuit is Circuit.CLOSED
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.circuit is Circuit.CLOSED


def test_a_failed_probe_opens_it_for_another_cool_down(breaker: Breaker, ticks: Ticks) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    ticks.now += COOL_DOWN_SECONDS
    fail(breaker, 1)
    assert breaker.circuit is Circuit.OPEN
    assert breaker.retry_after() == COOL_DOWN_SECONDS
    assert breaker.openings == 2


def test_a_probe_whose_caller_leaves_lets_another_one_pass(breaker: Breaker, ticks: Ticks) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    ticks.now += COOL_DOWN_SECONDS
    assert ask(breaker, GeneratorExit())
    assert breaker.circuit is Circuit.OPEN
    assert ask(breaker)
    assert breaker.circuit is Circuit.CLOSED


def test_what_began_before_it_opened_does_not_count_after(breaker: Breaker, ticks: Ticks) -> None:
    late = [breaker.admit(), breaker.admit()]
    fail(breaker, FAILURES_TO_OPEN)
    ticks.now += COOL_DOWN_SECONDS
    probe = breaker.admit()
    for permit in late:
        assert permit is not None
        with permit:
            pass
    assert breaker.circuit is Circuit.HALF_OPEN
    assert probe is not None
    with probe:
        pass
    assert breaker.circuit is Circuit.CLOSED


def test_its_state_can_be_shown(breaker: Breaker) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    shown = {"circuit": "open", "failures_in_a_row": 5, "openings": 1, "retry_after": 30.0}
    assert breaker.snapshot() == shown
