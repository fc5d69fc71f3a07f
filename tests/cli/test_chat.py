"""`aos chat`: pipes, conversations, hostile text, and answers that break off."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.served import EmulatorControl
from tests.support.terminal import END_OF_INPUT, INTERRUPT, Aos
from tests.support.waiting import eventually

from .stub import JSON, Said, answering

HOSTILE = "\x1b[2Jred\x1b]0;title\x07 \x9b31m \u202eevil\u202c bell\x07"
SHOWN = "red 31m evil bell"
STREAM = "text/event-stream"


def test_a_pipe_is_added_to_the_message(aos: Aos) -> None:
    piped = aos.pipe("chat", "Summarise this:", given=b"One\nTwo\n")
    assert piped.out == "You said: Summarise this:\n\nOne\nTwo\n"
    assert aos.pipe("chat", given=b"Only this").out == "You said: Only this\n"
    assert aos.pipe("chat", given=b" \n").code == 2


def test_an_answer_for_programs(aos: Aos) -> None:
    turn = json.loads(aos.pipe("chat", "Hi", "-o", "json", "--new").out)
    assert turn["content"] == "You said: Hi"
    assert turn["thread_id"].startswith("thread_")
    events = [json.loads(line) for line in aos.pipe("chat", "Hi", "-o", "jsonl").out.splitlines()]
    assert events[0]["event"] == "turn.started"
    assert events[-1]["event"] == "turn.completed"


def test_the_same_key_gets_the_same_answer(aos: Aos) -> None:
    same = ("chat", "Hi", "-o", "json", "--idempotency-key", "once")
    first, second = (json.loads(aos.pipe(*same).out) for _ in range(2))
    assert first["turn_id"] == second["turn_id"]
    assert aos.pipe("chat", "Hi", "--idempotency-key", "once").out == "You said: Hi\n"
    other = aos.pipe("chat", "Ho", "--idempotency-key", "once")
    assert (other.code, "(idempotency_mismatch, " in other.err) == (1, True)


@pytest.mark.parametrize("columns", [120, 40])
async def test_a_conversation_goes_on_after_an_interrupted_answer(
    aos: Aos, emulator: EmulatorControl, columns: int
) -> None:
    talk = await asyncio.to_thread(aos.start, "chat", columns=columns)
    await asyncio.to_thread(talk.expect, "> ")
    talk.type("First\n")
    await asyncio.to_thread(talk.expect, "You said: First\n")
    await emulator.inject("hang", seconds=2.0)
    asked = len(await emulator.requests("responses.create"))
    talk.type("Second\n")

    async def is_asked() -> bool:
        return len(await emulator.requests("responses.create")) > asked

    await eventually(is_asked)
    talk.type(INTERRUPT)
    await asyncio.to_thread(talk.expect, "the turn goes on")
    talk.type("Third\n")
    await asyncio.to_thread(talk.expect, "You said: Third\n> ")  # no line editor reads it earlier
    talk.type(END_OF_INPUT)
    ended = await asyncio.to_thread(talk.wait)
    assert ended.code == 0
    (thread,) = json.loads((await asyncio.to_thread(aos.pipe, "threads", "ls")).out)
    said = await asyncio.to_thread(aos.pipe, "threads", "messages", thread["thread_id"])
    texts = [each["content"] for each in json.loads(said.out) if each["role"] == "user"]
    assert texts == ["First", "Second", "Third"]


def test_text_of_a_model_moves_no_cursor(aos: Aos) -> None:
    created = aos.pipe("threads", "new", "--metadata", "name=[bold]:smile:")
    thread = json.loads(created.out)["thread_id"]
    shown = aos.run("chat", "-t", thread, HOSTILE)
    assert shown.out.strip() == f"You said: {SHOWN}"
    messages = aos.run("threads", "messages", thread)
    assert "\x1b" not in messages.out
    assert "\x07" not in messages.out
    as_json = aos.run("chat", HOSTILE, "-o", "json").out
    assert not set(as_json) & set("\x1b\x07\x9b\u202e")
    assert json.loads(as_json)["content"] == f"You said: {HOSTILE}"
    assert aos.pipe("chat", HOSTILE).out == f"You said: {HOSTILE}\n"  # a file gets all of it
    assert "[bold]:smile:" in aos.run("threads", "ls").plain


@pytest.mark.parametrize(
    ("said", "code", "shown"),
    [
        (Said(200, b"event: turn.started\ndata: {}\n\n", STREAM), 75, "the answer broke off"),
        (Said(200, b"event: a\ndata: {}\n\n", STREAM, 99), 75, "--idempotency-key aos-"),
        (Said(200, b"event: a\ndata: {\n\n", STREAM), 1, "an event that is not JSON"),
        (Said(502, b"<html>", "text/html"), 75, "not as this app does"),
        (Said(200, b"<html>", "text/html"), 75, "the answer broke off"),
        (
            Said(
                403, b'{"code": "\\u001b[1m", "detail": "\\u001b[2Jno\\naos_0123456789_abc"}', JSON
            ),
            1,
            "error: no [key]\n",
        ),
    ],
)
def test_answers_that_are_none(tmp_path: Path, said: Said, code: int, shown: str) -> None:
    with answering({"messages": said}) as stub:
        result = Aos(tmp_path, stub.url).run("chat", "Hi")
    assert result.code == code
    assert shown in result.plain
    assert "\x1b" not in result.out
    assert "Traceback" not in result.plain
