"""What an exchange with Foundry does next, decided in one place from what is known of it.

    SEND          ──failed──> LOOK, RESUME, ANSWER_CALLS, SEND or FAIL
    RESUME        ──failed──> RESUME, LOOK or FAIL
    LOOK          ──no answer is there──> ANSWER_CALLS, SEND or FAIL
    ANSWER_CALLS  ──> SEND

A request that may have run is never sent again on a conversation before Foundry was asked what it
left there. A response that runs in the background needs no such question: its stream is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .errors import FoundryError, TimeoutError
from .tools.unanswered import blocks_the_thread


class Step(StrEnum):
    """What to do next."""

    SEND = "send"
    """Request a response."""
    RESUME = "resume"
    """Read on in the stream of a background response, after the last event that arrived."""
    LOOK = "look"
    """Ask Foundry what earlier requests left, and take the answer if it is there."""
    ANSWER_CALLS = "answer_calls"
    """Read which calls the conversation waits for, and answer them with the next request."""
    FAIL = "fail"
    """Raise the latest failure."""


@dataclass(slots=True)
class Known:
    """What is known of an exchange."""

    has_conversation: bool
    """The thread is a conversation, whose items can be read."""
    look_first: bool = False
    """An earlier turn may have left items in the conversation."""
    calls_open: bool = False
    """Calls of an earlier turn wait for an answer."""
    calls_answered: bool = False
    """Such calls have been answered; once is enough."""
    is_background: bool = False
    """Foundry runs the response to its end without our connection."""
    is_stored: bool = True
    """Foundry stores the response."""
    failure: FoundryError | None = None
    """How the latest request failed; None before the first."""
    may_repeat: bool = False
    """The failure's treatment, the retries and the time that is left allow another request."""
    has_begun: bool = False
    """Foundry reported the start of a response, and not that it failed."""
    has_delivered: bool = False
    """The caller has been given a part of the answer."""
    has_looked: bool = False
    """Foundry was asked what is there since the latest request."""
    input_found: bool = False
    """Our input is in the conversation, without an answer."""


def next_step(known: Known) -> Step:
    """The next step of an exchange."""
    if _can_answer_calls(known):
        return Step.ANSWER_CALLS
    if not known.has_looked:
        if known.may_repeat and known.has_begun and known.is_background:
            return Step.RESUME
        if _is_in_doubt(known):
            return Step.LOOK
    if known.failure is not None and _is_final(known, known.failure):
        return Step.FAIL
    if known.calls_open and not known.input_found:
        return Step.ANSWER_CALLS
    return Step.SEND


def _can_answer_calls(known: Known) -> bool:
    """Whether the request was refused for open calls that we have not answered yet."""
    if known.failure is None or known.calls_answered or known.input_found:
        return False
    return known.has_conversation and blocks_the_thread(known.failure)


def _is_in_doubt(known: Known) -> bool:
    """Whether Foundry may hold items or a response that we do not know."""
    if known.failure is None:
        return known.has_conversation and known.look_first
    if known.has_begun and known.is_stored:
        return True
    may_be_there = known.failure.may_have_run or known.has_begun or known.input_found
    return known.has_conversation and may_be_there


def _is_final(known: Known, failure: FoundryError) -> bool:
    """Whether nothing may be sent after a failure.

    After a timeout, a conversation without our input proves nothing: the request may still wait
    for its turn there.
    """
    may_still_arrive = (
        isinstance(failure, TimeoutError) and known.has_conversation and not known.input_found
    )
    in_the_way = known.has_looked and may_still_arrive
    return not known.may_repeat or known.has_delivered or in_the_way
