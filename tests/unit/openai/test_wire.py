"""What goes over the wire, byte for byte: `wire` holds it as clients of OpenAI expect it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry.events import ClientCallDelta, ClientCallStarted, MessageDelta
from shared.foundry.models import (
    ClientCall,
    FinishReason,
    RequestKind,
    ToolRequest,
    TurnResult,
    Usage,
)
from shared.openai.chat_wire import ChatForm
from shared.openai.response_body import ResponseCreate
from shared.openai.response_events import Pieces, ResponseFrames, again, begun_of
from shared.openai.response_wire import ResponseForm
from shared.openai.sends import Frames
from shared.problems import INTERNAL_ERROR, Problem, ProblemKind
from shared.text import to_json_bytes
from shared.turns.command import AnsweredTurn, Progress, TurnOpened

WIRE = Path(__file__).with_name("wire")
OPENED = TurnOpened("turn_01K00000000000000000000000", None)
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
SPACE = {"type": "namespace", "name": "home", "tools": [{**TOOL, "name": "light"}]}
USAGE = Usage(input_tokens=11, output_tokens=7, total_tokens=18, cached_tokens=3)
RESULT = TurnResult(
    content="It is warm.",
    finish_reason=FinishReason.STOP,
    response_id="resp_upstream",
    model="llama-3.3-70b",
    usage=USAGE,
)
CALLS = (
    ClientCall("call_1", "weather", '{"city": "Bern"}'),
    ClientCall("call_2", "home__light", "{}"),
)
CALLING = replace(RESULT, content="Let me see.", finish_reason=FinishReason.TOOL_CALLS, calls=CALLS)
ASKING = replace(
    RESULT,
    content="",
    requests=(ToolRequest("mcpr_1", RequestKind.APPROVAL, "docs", "search", "{}"),),
)
TEXT = [MessageDelta("It is "), MessageDelta("warm.")]
CALLED = [
    MessageDelta("Let me see."),
    ClientCallStarted("call_1", "weather"),
    ClientCallDelta("call_1", '{"city": '),
    ClientCallDelta("call_1", '"Bern"}'),
    ClientCallStarted("call_2", "home__light"),
    ClientCallDelta("call_2", "{}"),
]
FILTERED = Problem(ProblemKind.CONTENT_FILTER, "A filter stopped the answer.")
TERMINAL = {"response.completed", "response.incomplete", "response.failed", "error"}

CASES: dict[str, tuple[TurnResult, Sequence[Any]]] = {
    "text": (RESULT, TEXT),
    "calls": (CALLING, CALLED),
    "cut": (replace(RESULT, finish_reason=FinishReason.LENGTH), TEXT),
    "refusal": (replace(RESULT, content="No.", refusal="No."), []),
    "empty": (replace(RESULT, content="", usage=Usage()), []),
    "approval": (ASKING, []),
}
FAILURES = {"failure": INTERNAL_ERROR, "filter": FILTERED}


def turn(result: TurnResult) -> AnsweredTurn:
    return AnsweredTurn(OPENED, result, (), 1.0, datetime(2026, 3, 1, tzinfo=UTC))


def chat() -> ChatForm:
    return ChatForm("llama-3.3-70b", (), wants_usage=True)


def response() -> ResponseForm:
    body = ResponseCreate(
        input="Is it warm?",
        model="llama-3.3-70b",
        instructions="Be brief.",
        tools=[TOOL, SPACE],
        metadata={"ticket": "9"},
        max_output_tokens=100,
    )
    return ResponseForm(body, body.known_tools, FoundryAgentServiceConfig())


def streamed(frames: Frames, events: Iterable[Progress]) -> bytes:
    return b"".join([*frames.begin(OPENED), *(f for event in events for f in frames.feed(event))])


def check(name: str, content: bytes) -> None:
    """Compare with the file of the case."""
    assert content.decode() == (WIRE / name).read_text()


def pretty(document: Any) -> bytes:
    return json.dumps(json.loads(to_json_bytes(document)), indent=1).encode() + b"\n"


@pytest.mark.parametrize("case", CASES)
def test_answers(case: str) -> None:
    result, _ = CASES[case]
    check(f"chat-{case}.json", pretty(chat().document(turn(result))))
    check(f"response-{case}.json", pretty(response().answered(turn(result))))


@pytest.mark.parametrize("case", CASES)
def test_streams(case: str) -> None:
    result, events = CASES[case]
    form = response()
    frames = chat().form().frames()
    check(f"chat-{case}.txt", streamed(frames, [*events, turn(result)]))
    stream = streamed(ResponseFrames(form, Pieces()), [*events, turn(result)])
    check(f"response-{case}.txt", stream)
    assert_ends_once(stream)


def assert_ends_once(stream: bytes) -> None:
    """Numbers rise by one, and only the last event ends the stream."""
    events = [json.loads(line[6:]) for line in stream.decode().splitlines() if "data: " in line]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize("case", FAILURES)
def test_failures_inside_a_stream(case: str) -> None:
    problem = FAILURES[case].to_json("req_1")
    for name, frames in (
        ("chat", chat().form().frames()),
        ("response", ResponseFrames(response(), Pieces())),
    ):
        stream = streamed(frames, TEXT[:1]) + b"".join(frames.fail(problem))
        check(f"{name}-{case}.txt", stream)
        if name == "response":
            assert_ends_once(stream)


@pytest.mark.parametrize("case", CASES)
def test_a_stream_that_is_read_again_has_the_same_events(case: str) -> None:
    result, events = CASES[case]
    pieces, form = Pieces(), response()
    frames = ResponseFrames(form, pieces)
    first = streamed(frames, [])
    for event in events:
        pieces.watch(event)
        first += b"".join(frames.feed(event))
        for _ in range(4):
            first += b"".join(frames.silence())
    first += b"".join(frames.feed(turn(result)))
    answered = form.answered(turn(result))
    second = b"".join(
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), to_json_bytes(event))
        for event in again(begun_of(answered), answered, Pieces.from_json(pieces.to_json()))
    )
    lines = [line for line in first.decode().splitlines() if line.startswith("event: ")]
    again_lines = [line for line in second.decode().splitlines() if line.startswith("event: ")]
    assert lines == again_lines
    assert_ends_once(second)


def test_silence_is_a_comment_and_each_minute_an_event() -> None:
    frames = ResponseFrames(response(), Pieces())
    streamed(frames, [])
    said = [b"".join(frames.silence()) for _ in range(8)]
    assert [each.startswith(b": ") for each in said] == [True] * 3 + [False] + [True] * 3 + [False]
    assert b"response.in_progress" in said[3]
    assert chat().form().frames().silence() == [b": the turn still runs\n\n"]
