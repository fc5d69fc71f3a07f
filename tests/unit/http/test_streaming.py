"""A streamed turn: a closed set of events, one of two at the end, and signs of life between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.foundry.errors import RateLimitedError
from shared.foundry.events import (
    MessageDelta,
    OtherEvent,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from shared.foundry.models import FinishReason, TurnResult
from shared.foundry.sse import SseParser
from shared.http.sse import EventName, event_stream
from shared.problems import INTERNAL_ERROR
from shared.state.keys import Kind, new_id
from shared.turns.background import StillRunning
from shared.turns.command import AnsweredTurn, Progress, TurnOpened
from shared.turns.documents import turn_document
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem
from tests.support.scripted_foundry import message_item, response_body, sse, stream_events

STREAM = {"accept": "text/event-stream"}
OPENED = TurnOpened("turn_1", "thread_1")
DONE = AnsweredTurn(
    OPENED,
    TurnResult("Hi", FinishReason.STOP, "resp_1", "m"),
    (),
    1.0,
    datetime(2026, 3, 1, tzinfo=UTC),
)
TERMINAL = {EventName.TURN_COMPLETED, EventName.ERROR}

Event = tuple[str, dict[str, Any]]


def read(stream: bytes) -> list[Event]:
    """The named events of a stream, comments left out."""
    frames = [frame for frame in stream.decode().split("\n\n") if frame]
    events: list[Event] = []
    for frame in frames:
        if frame.startswith(":"):
            continue
        name, data = frame.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def stream_of(*progress: Progress | Exception) -> bytes:
    """What is sent for some progress; an exception ends it."""

    async def rest() -> AsyncGenerator[Progress]:
        for event in progress:
            if isinstance(event, Exception):
                raise event
            yield event

    return b"".join([chunk async for chunk in event_stream(OPENED, rest(), "req-1", turn_document)])


def test_the_set_of_events_is_closed() -> None:
    assert [str(name) for name in EventName] == [
        "turn.started",
        "message.delta",
        "tool.started",
        "tool.finished",
        "turn.completed",
        "error",
    ]


async def test_everything_a_turn_tells_has_its_event() -> None:
    events = read(
        await stream_of(
            TurnStarted("resp_1"),
            MessageDelta("Hi\n\n"),
            ToolStarted("search", "c1"),
            ToolFinished("search", "c1", succeeded=False),
            OtherEvent({"type": "response.hologram"}),
            StillRunning(),
            DONE,
        )
    )
    assert events[:-1] == [
        ("turn.started", {"turn_id": "turn_1", "thread_id": "thread_1"}),
        ("message.delta", {"text": "Hi\n\n"}),
        ("tool.started", {"name": "search", "call_id": "c1"}),
        ("tool.finished", {"name": "search", "call_id": "c1", "succeeded": False}),
    ]
    name, turn = events[-1]
    assert name == "turn.completed"
    assert (turn["turn_id"], turn["content"], turn["finish_reason"]) == ("turn_1", "Hi", "stop")


async def test_a_quiet_turn_says_that_it_runs_in_a_comment() -> None:
    stream = await stream_of(StillRunning(), StillRunning(), DONE)
    comments = [frame for frame in stream.split(b"\n\n") if frame.startswith(b":")]
    assert len(comments) == 2
    parser = SseParser()
    assert len(list(parser.feed(stream))) == 2


@pytest.mark.parametrize("text", ["a\rb", "a\u2028b", "\x00", "🙂", "\ud83d", "data: x\n\n"])
async def test_any_text_stays_inside_its_event(text: str) -> None:
    stream = await stream_of(MessageDelta(text), DONE)
    data = list(SseParser().feed(stream))
    assert len(data) == 3
    assert json.loads(data[1])["text"] == text.encode(errors="replace").decode()


async def test_a_failure_is_a_problem_at_the_end() -> None:
    failed = RateLimitedError("Wait.", retry_after=4)
    events = read(await stream_of(MessageDelta("Hi"), failed))
    name, problem = events[-1]
    assert name == "error"
    assert (problem["status"], problem["code"], problem["detail"]) == (429, "rate_limited", "Wait.")
    assert (problem["retry_after"], problem["request_id"]) == (4, "req-1")
    assert [name for name, _ in events if name in TERMINAL] == ["error"]


async def test_a_bug_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    stream = await stream_of(RuntimeError("AccountKey=abc"))
    assert b"AccountKey" not in stream
    assert read(stream)[-1][1]["detail"] == INTERNAL_ERROR.detail
    assert "req-1" in caplog.text
    assert "AccountKey" in caplog.text


async def events_of(api: httpx.AsyncClient, path: str, **body: Any) -> list[Event]:
    answer = await api.post(path, json=body, headers=STREAM)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    events = read(answer.content)
    assert sum(name in TERMINAL for name, _ in events) == 1
    assert events[-1][0] in TERMINAL
    assert events[0][0] == "turn.started"
    return events


def text_of(events: list[Event]) -> str:
    return "".join(data["text"] for name, data in events if name == "message.delta")


async def test_a_message_alone_is_streamed_and_recorded(app: App, api: httpx.AsyncClient) -> None:
    events = await events_of(api, "messages", message="one two three")
    assert text_of(events) == events[-1][1]["content"] == "You said: one two three"
    assert len(events) > 4
    assert events[0][1] == {"turn_id": events[-1][1]["turn_id"], "thread_id": None}
    (row,) = app.table.rows("key", "turn:")
    assert (row.values["mode"], row.values["status"]) == ("stream", "succeeded")
    assert app.foundry.sent[0]["stream"] is True


async def test_the_same_turn_as_json_has_the_same_result(api: httpx.AsyncClient) -> None:
    events = await events_of(api, "messages", message="Hi")
    plain = (await api.post("messages", json={"message": "Hi"})).json()
    assert set(plain) == set(events[-1][1])
    assert plain["content"] == events[-1][1]["content"]


async def test_a_streamed_turn_moves_its_thread_on(app: App, api: httpx.AsyncClient) -> None:
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    for text in ("one", "two"):
        events = await events_of(api, f"threads/{thread_id}/messages", message=text)
        assert events[-1][1]["thread_id"] == thread_id
    assert app.foundry.sent[1]["previous_response_id"]
    info = (await api.get(f"threads/{thread_id}")).json()
    assert (info["message_count"], info["total_tokens"]) == (2, 10)


async def test_what_fails_before_it_begins_is_a_plain_problem(
    app: App, services: Services, api: httpx.AsyncClient
) -> None:
    async def stream(path: str, **body: Any) -> httpx.Response:
        return await api.post(path, json=body, headers=STREAM)

    assert_problem(await stream("messages"), 422, "invalid_request")
    missing = f"threads/{new_id(Kind.THREAD)}/messages"
    assert_problem(await stream(missing, message="Hi"), 404, "not_found")
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    release = asyncio.Event()
    arrived = app.foundry.then_hold(release)
    path = f"threads/{thread_id}/messages"
    first = asyncio.create_task(stream(path, message="one"))
    await arrived.wait()
    busy = await stream(path, message="two")
    assert_problem(busy, 409, "thread_busy")
    assert busy.headers["retry-after"] == "60"
    release.set()
    assert read((await first).content)[-1][0] == "turn.completed"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_request"), (429, "rate_limited"), (401, "authentication_failed")],
)
async def test_a_refusal_of_foundry_ends_the_stream(
    app: App, api: httpx.AsyncClient, status: int, code: str
) -> None:
    app.foundry.then_fail(status)
    events = await events_of(api, "messages", message="Hi")
    assert [name for name, _ in events] == ["turn.started", "error"]
    assert events[-1][1]["code"] == code
    assert app.table.rows("key", "turn:")[0].values["status"] == "failed"


async def test_a_stream_that_breaks_never_ends_as_completed(
    app: App, api: httpx.AsyncClient
) -> None:
    item = message_item("one two three", id="m")
    frames = [sse(event) for event in stream_events(response_body(output=[item]))]
    app.foundry.then_stream(*frames[:3], error=httpx.ReadError("cut"))
    events = await events_of(api, "messages", message="Hi")
    assert text_of(events) == "one two"
    assert events[-1][0] == "error"
    assert events[-1][1]["code"] == "stream_interrupted"


async def test_a_turn_that_cannot_be_recorded_is_not_completed(
    app: App, api: httpx.AsyncClient
) -> None:
    async def then_storage_fails(request: httpx.Request) -> httpx.Response:
        app.table.available = False
        return await app.foundry.answer(request)

    app.foundry.then(then_storage_fails)
    events = await events_of(api, "messages", message="Hi")
    assert (events[-1][0], events[-1][1]["code"]) == ("error", "storage_unavailable")


@pytest.mark.parametrize("accept", ["application/json", "*/*", "", "text/html"])
async def test_who_does_not_ask_for_events_gets_json(api: httpx.AsyncClient, accept: str) -> None:
    answer = await api.post("messages", json={"message": "Hi"}, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/event-stream, */*", "Text/Event-Stream"])
async def test_events_may_be_asked_for_among_others(api: httpx.AsyncClient, accept: str) -> None:
    answer = await api.post("messages", json={"message": "Hi"}, headers={"accept": accept})
    assert answer.headers["content-type"].startswith("text/event-stream")
