"""What an exchange does next, for each kind of failure and what is known beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from shared.foundry import errors
from shared.foundry.next_step import Known, Step, next_step

ON_CONVERSATION = Known(has_conversation=True)
ALONE = Known(has_conversation=False)

REFUSED = errors.InvalidRequestError("Correct it.", status_code=400)
CALLS_OPEN = errors.InvalidRequestError("No tool output found for function call c1.")
UNSENT = errors.ServiceUnavailableError("Foundry cannot be reached.")
LOST = errors.ServiceUnavailableError("The connection broke.", may_have_run=True)
LATE = errors.TimeoutError("No complete answer.", may_have_run=True)
LIMITED = errors.RateLimitedError("Wait.", status_code=429)
FAILURES = (REFUSED, CALLS_OPEN, UNSENT, LOST, LATE, LIMITED)

ROWS: dict[str, tuple[Known, Step]] = {
    # before the first request
    "a new message": (ON_CONVERSATION, Step.SEND),
    "a message without a thread": (ALONE, Step.SEND),
    "an earlier turn was lost": (replace(ON_CONVERSATION, look_first=True), Step.LOOK),
    "an earlier turn of a chain was lost": (replace(ALONE, look_first=True), Step.SEND),
    "calls are open": (replace(ON_CONVERSATION, calls_open=True), Step.ANSWER_CALLS),
    "a turn was lost and calls are open": (
        replace(ON_CONVERSATION, look_first=True, calls_open=True),
        Step.LOOK,
    ),
    # after a look before the first request
    "nothing is there": (replace(ON_CONVERSATION, look_first=True, has_looked=True), Step.SEND),
    "calls are there": (
        replace(ON_CONVERSATION, look_first=True, has_looked=True, calls_open=True),
        Step.ANSWER_CALLS,
    ),
    "our input is there": (
        replace(ON_CONVERSATION, has_looked=True, calls_open=True, input_found=True),
        Step.SEND,
    ),
    # after a failure
    "refused": (replace(ON_CONVERSATION, failure=REFUSED), Step.FAIL),
    "refused for open calls": (replace(ON_CONVERSATION, failure=CALLS_OPEN), Step.ANSWER_CALLS),
    "refused for open calls again": (
        replace(ON_CONVERSATION, failure=CALLS_OPEN, calls_answered=True),
        Step.FAIL,
    ),
    "refused for open calls behind our input": (
        replace(ON_CONVERSATION, failure=CALLS_OPEN, input_found=True, has_looked=True),
        Step.FAIL,
    ),
    "refused for open calls of a chain": (replace(ALONE, failure=CALLS_OPEN), Step.FAIL),
    "not sent": (replace(ON_CONVERSATION, failure=UNSENT, may_repeat=True), Step.SEND),
    "not sent, no retry left": (replace(ON_CONVERSATION, failure=UNSENT), Step.FAIL),
    "limited": (replace(ON_CONVERSATION, failure=LIMITED, may_repeat=True), Step.SEND),
    "lost": (replace(ON_CONVERSATION, failure=LOST, may_repeat=True), Step.LOOK),
    "lost, no retry left": (replace(ON_CONVERSATION, failure=LOST), Step.LOOK),
    "lost without a thread": (replace(ALONE, failure=LOST, may_repeat=True), Step.SEND),
    "lost without a thread, no retry left": (replace(ALONE, failure=LOST), Step.FAIL),
    "not sent, but our input is there from before": (
        replace(ON_CONVERSATION, failure=UNSENT, may_repeat=True, input_found=True),
        Step.LOOK,
    ),
    "broken off in the answer": (
        replace(ON_CONVERSATION, failure=LOST, may_repeat=True, has_delivered=True),
        Step.LOOK,
    ),
    "broken off in an answer without a thread": (
        replace(ALONE, failure=LOST, may_repeat=True, has_delivered=True),
        Step.FAIL,
    ),
    "a stored response had begun": (
        replace(ALONE, failure=LOST, may_repeat=True, has_begun=True),
        Step.LOOK,
    ),
    "a response that is not stored had begun": (
        replace(ALONE, failure=LOST, may_repeat=True, has_begun=True, is_stored=False),
        Step.SEND,
    ),
    "a background response broke off": (
        replace(
            ON_CONVERSATION,
            failure=LOST,
            may_repeat=True,
            is_background=True,
            has_begun=True,
            has_delivered=True,
        ),
        Step.RESUME,
    ),
    "a background response broke off, no retry left": (
        replace(ON_CONVERSATION, failure=LOST, is_background=True, has_begun=True),
        Step.LOOK,
    ),
    "a background response that had not begun": (
        replace(ON_CONVERSATION, failure=LOST, may_repeat=True, is_background=True),
        Step.LOOK,
    ),
    # after a failure and a look that found no answer
    "lost, and nothing is there": (
        replace(ON_CONVERSATION, failure=LOST, may_repeat=True, has_looked=True),
        Step.SEND,
    ),
    "lost, and our input is there": (
        replace(ON_CONVERSATION, failure=LOST, may_repeat=True, has_looked=True, input_found=True),
        Step.SEND,
    ),
    "lost, no retry left, and nothing is there": (
        replace(ON_CONVERSATION, failure=LOST, has_looked=True),
        Step.FAIL,
    ),
    "broken off, and the answer is not there": (
        replace(
            ON_CONVERSATION, failure=LOST, may_repeat=True, has_looked=True, has_delivered=True
        ),
        Step.FAIL,
    ),
    "late, and nothing is there yet": (
        replace(ON_CONVERSATION, failure=LATE, may_repeat=True, has_looked=True),
        Step.FAIL,
    ),
    "late, and our input is there": (
        replace(ON_CONVERSATION, failure=LATE, may_repeat=True, has_looked=True, input_found=True),
        Step.SEND,
    ),
    "late without a conversation": (
        replace(ALONE, failure=LATE, may_repeat=True, has_looked=True),
        Step.SEND,
    ),
}


@pytest.mark.parametrize(("known", "step"), ROWS.values(), ids=ROWS.keys())
def test_the_next_step(known: Known, step: Step) -> None:
    assert next_step(known) is step


def all_states() -> Iterator[Known]:
    """Every combination of failures and of what is known beside them."""
    names = [each.name for each in fields(Known) if each.name != "failure"]
    for failure in (None, *FAILURES):
        for values in itertools.product((False, True), repeat=len(names)):
            yield Known(**dict(zip(names, values, strict=True)), failure=failure)


def test_a_request_that_may_have_run_is_never_sent_again_on_a_conversation_unlooked() -> None:
    for known in all_states():
        failure = known.failure
        if failure and failure.may_have_run and known.has_conversation and not known.has_looked:
            assert next_step(known) in {Step.LOOK, Step.RESUME}, known


def test_nothing_is_sent_where_no_retry_is_left_or_a_part_was_delivered() -> None:
    for known in all_states():
        if known.failure and (known.has_delivered or not known.may_repeat):
            assert next_step(known) is not Step.SEND, known


def test_only_a_failure_fails_and_one_look_is_enough() -> None:
    for known in all_states():
        step = next_step(known)
        assert not (step is Step.FAIL and known.failure is None), known
        assert not (step is Step.LOOK and known.has_looked), known


def test_only_a_background_response_that_has_begun_is_resumed() -> None:
    for known in all_states():
        if next_step(known) is Step.RESUME:
            assert known.is_background
            assert known.has_begun
            assert known.may_repeat
