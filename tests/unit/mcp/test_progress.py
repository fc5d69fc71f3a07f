"""A streamed call: reports to who asks for them, keep-alives to others, and one answer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

from shared.foundry.errors import RateLimitedError
from shared.foundry.events import MessageDelta, ToolFinished, ToolStarted
from shared.http.answers import Answer
from shared.mcp.progress import COMMENT, MAX_REPORT_CHARS, MIN_SECONDS, CallStream
from shared.turns.background import StillRunning
from shared.turns.command import AnsweredTurn, Progress

ANSWERED = cast("AnsweredTurn", object.__new__(AnsweredTurn))
DOCUMENT = {"content": "Hello"}


@dataclass
class Clock:
    """A second passes with each event."""

    step: float = MIN_SECONDS
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def chunks(
    *events: Progress | Exception, wants: Any = "t", step: float = MIN_SECONDS
) -> list[Any]:
    """What a client with this progress token is sent of these events; a comment as it is."""

    async def rest() -> AsyncGenerator[Progress]:
        for event in events[1:]:
            if isinstance(event, Exception):
                raise event
            yield event

    def answer(answer: Answer) -> dict[str, Any]:
        return {"answer": answer.body}

    stream = CallStream(answer, wants, Clock(step))
    first = cast("Progress", events[0])
    sent = [each async for each in stream.encode(first, rest(), "req", lambda _: DOCUMENT)]
    return [
        each if each.startswith(b":") else json.loads(each.removeprefix(b"data: ")) for each in sent
    ]


def reports(sent: list[Any]) -> list[str]:
    return [each["params"]["message"] for each in sent if "params" in each]


async def test_tools_and_text_are_reported_and_the_answer_comes_last() -> None:
    started, finished = ToolStarted("search", "c"), ToolFinished("search", "c", succeeded=False)
    sent = await chunks(started, finished, MessageDelta("He"), MessageDelta("llo"), ANSWERED)
    assert reports(sent) == [
        "The tool search runs.",
        "The tool search has failed.",
        "He",
        "Hello",
    ]
    assert [each["params"]["progress"] for each in sent[:-1]] == [1, 2, 3, 4]
    assert {each["params"]["progressToken"] for each in sent[:-1]} == {"t"}
    assert sent[-1] == {"answer": DOCUMENT}


async def test_reports_are_a_second_apart_and_hold_the_end_of_the_text() -> None:
    text = "x" * MAX_REPORT_CHARS
    events = [MessageDelta("a"), *[MessageDelta("b")] * 3, MessageDelta(text), ANSWERED]
    sent = await chunks(*events, step=MIN_SECONDS / 4)
    assert reports(sent) == ["a", text]


async def test_a_turn_without_events_is_reported_too() -> None:
    sent = await chunks(StillRunning(), MessageDelta("a"), StillRunning(), ANSWERED)
    assert reports(sent) == ["The agent still works.", "a", "The agent still works."]


async def test_a_client_without_a_token_gets_keep_alives_only() -> None:
    sent = await chunks(MessageDelta("a"), StillRunning(), ANSWERED, wants=None)
    assert sent == [COMMENT, {"answer": DOCUMENT}]


async def test_a_turn_that_fails_is_answered_with_its_problem() -> None:
    sent = await chunks(MessageDelta("a"), RateLimitedError("Too many."))
    assert sent[-1]["answer"]["status"] == 429
    assert sent[-1]["answer"]["request_id"] == "req"
