"""A lost turn whose look back meets a fault of its own: it is made again, nothing is said twice."""

from __future__ import annotations

from typing import Any

import pytest

from shared.foundry.models import ThreadRef, TurnRequest
from tests.support.laboratory import JsonObject, Laboratory, Where, new_name, said

from .turning import ANSWER, Got, Way, take_turn

LIMIT_SECONDS = 8.0

WAYS = pytest.mark.parametrize("way", list(Way))
LOSSES = pytest.mark.parametrize("loss", ["work_then_drop", "drop"])


async def lose(lab: Laboratory, way: Way, loss: str, **look: Any) -> tuple[Got, ThreadRef, str]:
    """Lose a turn's first request, and let a fault strike the looks after it."""
    text = new_name("look")
    service = await lab.shared(Where.THREAD, LIMIT_SECONDS)
    thread = await service.create_thread({})
    await lab.arm(loss, {"cell": text})
    at = {"conversation_id": thread.conversation_id}
    fault: JsonObject = {"operation": "items.list", "match": at, **look}
    (await lab.http.post("/_emulator/faults", json=fault)).raise_for_status()
    got = await take_turn(service, way, TurnRequest(text, metadata={"cell": text}), thread)
    struck = (await lab.http.get("/_emulator/faults")).json()["faults"]
    assert [each["struck"] > 0 for each in struck] == [True, True]
    await lab.http.delete("/_emulator/faults")
    return got, thread, text


async def times_said(lab: Laboratory, thread: ThreadRef, text: str) -> int:
    assert thread.conversation_id
    return said(await lab.items(thread.conversation_id), text)


@WAYS
@LOSSES
@pytest.mark.parametrize(
    "look",
    [
        {"kind": "status", "status": 503, "times": 2},
        {"kind": "status", "status": 429, "headers": {"retry-after-ms": "20"}},
        {"kind": "drop", "times": 2},
        {"kind": "html", "status": 502},
    ],
    ids=lambda look: str(look["kind"]),
)
async def test_a_look_that_fails_in_passing_is_made_again(
    lab: Laboratory, way: Way, loss: str, look: JsonObject
) -> None:
    got, thread, text = await lose(lab, way, loss, **look)
    assert got.outcome == ANSWER, got.error
    assert got.text == f"You said: {text}"
    assert await times_said(lab, thread, text) == 1


@WAYS
@LOSSES
async def test_where_no_look_succeeds_nothing_is_sent_again(
    lab: Laboratory, way: Way, loss: str
) -> None:
    got, thread, text = await lose(lab, way, loss, kind="status", status=503, times=None)
    assert got.outcome == "service_unavailable"
    assert len(await lab.requests("responses.create", {"cell": text})) == 1
    assert await times_said(lab, thread, text) == (loss == "work_then_drop")
