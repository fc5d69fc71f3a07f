"""Background responses: a stream that breaks resumes where it broke, and nothing is polled."""

from __future__ import annotations

from typing import Any

import pytest

from shared.foundry.client import FoundryAgentServiceClient
from shared.foundry.errors import StreamInterruptedError
from shared.foundry.models import ThreadRef, TurnRequest
from tests.support.laboratory import JsonObject, Laboratory, Where, new_name, said

from .turning import ANSWER, Got, Way, take_turn

WAYS = pytest.mark.parametrize("way", list(Way))
PLACES = pytest.mark.parametrize("where", list(Where))
LAST_EVENT = 11


async def ask(
    lab: Laboratory, way: Way, where: Where, *faults: JsonObject
) -> tuple[Got, ThreadRef | None, str]:
    """Take a background turn while faults strike its creation and its resumptions."""
    text = new_name("background")
    service = await lab.shared(where, 5.0)
    thread = None if where is Where.ALONE else await service.create_thread({})
    for fault in faults:
        (await lab.http.post("/_emulator/faults", json=fault)).raise_for_status()
    turn = TurnRequest(text, background=True, metadata={"cell": text})
    return await take_turn(service, way, turn, thread), thread, text


def cut(after: int, operation: str = "responses.create", **more: Any) -> JsonObject:
    return {"kind": "cut_stream", "operation": operation, "after_events": after, **more}


async def resumptions(lab: Laboratory) -> list[str | None]:
    """Where each resumption began; None for a look that was not one."""
    entries = await lab.requests("responses.get")
    return [entry["query"].get("starting_after") for entry in entries]


@WAYS
@PLACES
async def test_nothing_is_asked_twice_while_nothing_breaks(
    lab: Laboratory, way: Way, where: Where
) -> None:
    got, _, text = await ask(lab, way, where)
    assert got.text == f"You said: {text}"
    (sent,) = await lab.requests("responses.create", {"cell": text})
    body: JsonObject = sent["body"]
    assert (body["background"], body["store"], body["stream"]) == (True, True, True)
    assert await resumptions(lab) == []


@WAYS
@PLACES
@pytest.mark.parametrize("after", [1, 5, 7, LAST_EVENT])
async def test_a_broken_stream_is_taken_up_behind_the_last_event(
    lab: Laboratory, way: Way, where: Where, after: int
) -> None:
    got, thread, text = await ask(lab, way, where, cut(after))
    assert got.text == f"You said: {text}"
    if way is Way.STREAM:
        assert got.streamed == got.text
    assert await resumptions(lab) == [str(after - 1)]
    assert len(await lab.requests("responses.create", {"cell": text})) == 1
    if thread and thread.conversation_id:
        assert said(await lab.items(thread.conversation_id), text) == 1


@WAYS
async def test_a_resumption_that_breaks_is_resumed_as_well(lab: Laboratory, way: Way) -> None:
    again = cut(2, "responses.get", times=2)
    got, _, text = await ask(lab, way, Where.ALONE, cut(3), again)
    assert got.text == f"You said: {text}"
    assert await resumptions(lab) == ["2", "4", "6"]


async def test_after_all_attempts_the_finished_response_is_taken(lab: Laboratory) -> None:
    again = cut(0, "responses.get", times=3)
    got, _, text = await ask(lab, Way.STREAM, Where.ALONE, cut(6), again)
    assert got.outcome == ANSWER
    assert got.streamed == got.text == f"You said: {text}"
    assert await resumptions(lab) == ["5", "5", "5", None]


async def test_what_cannot_be_had_in_full_says_where_it_broke(lab: Laboratory) -> None:
    gone = {"kind": "status", "status": 500, "operation": "responses.get", "times": None}
    got, _, _ = await ask(lab, Way.STREAM, Where.ALONE, cut(6), gone)
    assert isinstance(got.error, StreamInterruptedError)
    assert got.error.received == got.streamed == "You "
    assert got.error.response_id
    assert got.error.sequence_number == 5


async def test_a_response_that_failed_is_asked_for_anew(lab: Laboratory) -> None:
    failed: JsonObject = {"kind": "failed", "operation": "responses.create"}
    got, _, text = await ask(lab, Way.JSON, Where.THREAD, failed)
    assert got.text == f"You said: {text}"
    assert await resumptions(lab) == []


async def test_the_documented_client_offers_it(lab: Laboratory) -> None:
    (await lab.http.post("/_emulator/faults", json=cut(5))).raise_for_status()
    async with FoundryAgentServiceClient(lab.config(Where.ALONE)) as client:
        answer = await client.send_message("hi", background=True)
    assert (answer.success, answer.content) == (True, "You said: hi")
    assert await resumptions(lab) == ["4"]
