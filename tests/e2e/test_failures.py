"""What a failure upstream means for a caller, wherever it stands: sends, pauses, status, reason."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.asking import ended, submit
from tests.support.served import EmulatorControl

from .test_streaming import STREAM, Event, events, text_of

PLACES = ["status", "failed", "error_event", "failed_then_error", "error_then_failed"]
"""Kinds of faults that put an error at each place where a service can put it."""

TOO_LONG = {"code": "context_length_exceeded", "message": "The maximum context is 8192 tokens."}
LIMITED = {"code": "too_many_requests", "message": "Slow down."}
STRANGE = {"code": "E-4711", "message": "Never seen."}


@dataclass
class Ending:
    """How a message ended for its caller."""

    status: int
    body: dict[str, Any]
    """The answer, or the problem."""
    retry_after: str | None = None
    streamed: str = ""


def new_message() -> str:
    return f"say {uuid.uuid4().hex}"


async def ask(caller: httpx.AsyncClient, message: str, *, streamed: bool) -> Ending:
    """Send a message, as JSON or as a stream; an `error` event counts as its problem's status."""
    body = {"message": message}
    if not streamed:
        answer = await caller.post("messages", json=body)
        return Ending(answer.status_code, answer.json(), answer.headers.get("retry-after"))
    async with caller.stream("POST", "messages", json=body, headers=STREAM) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return Ending(answer.status_code, answer.json(), answer.headers.get("retry-after"))
        found: list[Event] = [event async for event in events(answer)]
    _, last = found[-1]
    return Ending(int(last.get("status", 200)), last, streamed=text_of(found))


async def sends(emulator: EmulatorControl, message: str) -> list[float]:
    """When a message was sent, each time."""
    return [
        request["time"]
        for request in await emulator.requests("responses.create")
        if message in str(request["body"])
    ]


def failing(place: str, error: dict[str, Any], status: int = 400) -> dict[str, Any]:
    """A fault that puts an error at a place."""
    if place == "status":
        return {"kind": "status", "status": status, "body": {"error": error}}
    return {"kind": place, "body": error}


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_mistake_is_sent_once_and_named(
    caller: httpx.AsyncClient, emulator: EmulatorControl, place: str, streamed: bool
) -> None:
    message = new_message()
    await emulator.inject(times=None, **failing(place, TOO_LONG))
    ending = await ask(caller, message, streamed=streamed)
    assert (ending.status, ending.body["code"]) == (400, "invalid_request")
    assert TOO_LONG["message"].rstrip(".") in ending.body["detail"]
    assert len(await sends(emulator, message)) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_rate_limit_pauses_every_request_and_then_passes(
    caller: httpx.AsyncClient, emulator: EmulatorControl, place: str, streamed: bool
) -> None:
    first, second = new_message(), new_message()
    limited = failing(place, LIMITED, status=429)
    await emulator.inject(headers={"Retry-After": "1"}, **limited)
    asking = asyncio.create_task(ask(caller, first, streamed=streamed))
    while not await sends(emulator, first):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # the refusal has arrived, and the pause runs
    other = await ask(caller, second, streamed=streamed)
    ending = await asking
    assert (ending.status, other.status) == (200, 200)
    refused_at, sent_again_at = await sends(emulator, first)
    (sent_at,) = await sends(emulator, second)
    assert sent_again_at - refused_at >= 1
    assert sent_at - refused_at >= 1


@pytest.mark.parametrize("place", ["status", "error_event"])
async def test_a_lasting_rate_limit_says_when_to_come_back(
    caller: httpx.AsyncClient, emulator: EmulatorControl, place: str
) -> None:
    message = new_message()
    error = {**LIMITED, "message": "Please retry after 250 ms."}
    await emulator.inject(times=None, **failing(place, error, status=429))
    ending = await ask(caller, message, streamed=False)
    assert (ending.status, ending.body["code"]) == (429, "rate_limited")
    assert (ending.body["retry_after"], ending.retry_after) == (0.25, "1")
    assert len(await sends(emulator, message)) == 4


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
async def test_an_unknown_failure_is_repeated_once(
    caller: httpx.AsyncClient, emulator: EmulatorControl, streamed: bool
) -> None:
    message = new_message()
    await emulator.inject(times=None, **failing("failed", STRANGE))
    ending = await ask(caller, message, streamed=streamed)
    assert (ending.status, ending.body["code"]) == (503, "service_unavailable")
    assert "E-4711" in ending.body["detail"]
    assert len(await sends(emulator, message)) == 2


NO_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "page": ({"kind": "html", "status": 200}, "text/html"),
    "text": (
        {"kind": "status", "status": 200, "body": "Hi", "headers": {"Content-Type": "text/plain"}},
        "text/plain",
    ),
    "brotli": (
        {"kind": "status", "status": 200, "body": "Hi", "headers": {"Content-Encoding": "br"}},
        "br",
    ),
    "sign-in": (
        {"kind": "status", "status": 302, "headers": {"Location": "https://login.test/?s=cret"}},
        "login.test",
    ),
}


@pytest.mark.parametrize("case", NO_ANSWERS)
async def test_what_is_no_stream_is_named_and_the_model_is_asked_once(
    caller: httpx.AsyncClient, emulator: EmulatorControl, case: str
) -> None:
    fault, named = NO_ANSWERS[case]
    message = new_message()
    await emulator.inject(times=None, **fault)
    ending = await ask(caller, message, streamed=True)
    assert (ending.status, ending.body["code"]) == (502, "protocol_error")
    assert named in ending.body["detail"]
    assert "nginx" not in ending.body["detail"]
    assert "cret" not in ending.body["detail"]
    assert len(await sends(emulator, message)) == 1


@pytest.mark.parametrize("kind", ["whole", "gzip"])
async def test_an_answer_in_another_form_is_an_answer(
    caller: httpx.AsyncClient, emulator: EmulatorControl, kind: str
) -> None:
    message = new_message()
    await emulator.inject(kind)
    ending = await ask(caller, message, streamed=True)
    assert ending.status == 200, ending.body
    assert ending.streamed == ending.body["content"] == f"You said: {message}"
    assert len(await sends(emulator, message)) == 1


@pytest.mark.parametrize(
    ("error", "code", "most"),
    [(TOO_LONG, "invalid_request", 1), (STRANGE, "service_unavailable", 2)],
)
async def test_a_job_ends_at_once_where_waiting_is_no_help(
    caller: httpx.AsyncClient,
    emulator: EmulatorControl,
    error: dict[str, str],
    code: str,
    most: int,
) -> None:
    message = new_message()
    await emulator.inject("failed", times=None, body=error)
    job = await ended(caller, await submit(caller, message=message))
    assert (job["status"], job["problem"]["code"]) == ("failed", code)
    assert error["message"].rstrip(".") in job["problem"]["detail"]
    assert len(await sends(emulator, message)) == most
