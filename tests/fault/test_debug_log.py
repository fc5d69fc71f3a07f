"""What DEBUG shows: every attempt, wait and decision, and never a secret or what was said."""

from __future__ import annotations

import asyncio
import logging

import pytest

from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from tests.support.laboratory import API_KEY, TOKEN, JsonObject, Laboratory, Where

from .cells import Cell
from .troubles import Trouble
from .turning import Way, take_turn

SAID = "say-"
"""How every message of a cell begins; the scripted answer repeats it."""

HAPPY_AND_FAILING = [
    Trouble("whole"),
    Trouble("503", {"kind": "status", "status": 503}),
    Trouble("429", {"kind": "status", "status": 429, "headers": {"retry-after-ms": "30"}}),
    Trouble("refused", {"kind": "status", "status": 400}, "invalid_request"),
    Trouble("lost", {"kind": "work_then_drop"}),
    Trouble("cut", {"kind": "cut_stream", "after_events": 6}),
    Trouble("malformed", {"kind": "malformed_event", "at": 5}),
    Trouble("failed", {"kind": "failed"}),
    Trouble("unreachable", outcome="service_unavailable", unreachable=True),
]


def everything(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, by whomever, with arguments and tracebacks written out."""
    formatter = logging.Formatter("%(name)s %(message)s")
    return "\n".join(formatter.format(record) for record in caplog.records)


async def test_no_secret_and_nothing_said_is_logged(
    lab: Laboratory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cells = [
        Cell(lab, trouble, way, where)
        for trouble in HAPPY_AND_FAILING
        for way in Way
        for where in Where
    ]
    async with asyncio.TaskGroup() as group:
        for cell in cells:
            group.create_task(cell.run())
    tokens = await lab.http.get(
        "/msi/token",
        params={"api-version": "2019-08-01", "resource": "https://ai.azure.com"},
        headers={"X-IDENTITY-HEADER": "local"},
    )
    issued: str = tokens.json()["access_token"]
    logged = everything(caplog)
    assert "shared.foundry.transport" in logged
    for secret in (API_KEY, TOKEN, issued[:20], "Bearer ", SAID, "You said"):
        assert secret not in logged, secret


async def test_each_attempt_wait_and_decision_is_shown(
    lab: Laboratory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "shared.foundry")
    mark: JsonObject = {"cell": "shown"}
    await lab.arm("status", mark, status=429, headers={"retry-after-ms": "30"})
    await lab.arm("work_then_drop", mark)
    service = await lab.shared(Where.THREAD, 10.0)
    thread = await service.create_thread({})
    got = await take_turn(service, Way.JSON, TurnRequest("hi", metadata=mark), thread)
    assert got.text == "You said: hi"
    logged = everything(caplog)
    (sent, *_) = await lab.requests("responses.create", mark)
    assert f"Attempt {sent['client_request_id']}: POST " in logged
    for line in (
        "status 429",
        "Attempt 1: rate_limited",
        "Waiting 0.0",
        "Attempt 2: service_unavailable",
        f"Looked after item None of {thread.conversation_id}: 2 items, sent=True answered=True",
        "status 200",
    ):
        assert line in logged, logged


@pytest.mark.parametrize("way", list(Way))
async def test_content_is_shown_where_it_is_asked_for(
    lab: Laboratory, caplog: pytest.LogCaptureFixture, way: Way
) -> None:
    caplog.set_level(logging.DEBUG, "shared.foundry")
    config = lab.config(Where.ALONE, log_content=True)
    service = FoundryService(config)
    got = await take_turn(service, way, TurnRequest("a marked question"), None)
    await service.aclose()
    logged = everything(caplog)
    assert '"content":"a marked question"' in logged
    assert got.text == "You said: a marked question"
    assert got.text in logged
    assert API_KEY not in logged
