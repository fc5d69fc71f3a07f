"""A fault in a turn that hands a call over, or in the one that answers it: one call, one output."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shared.foundry.client_calls import client_tools
from shared.foundry.models import ClientOutput, ThreadRef, TurnRequest, TurnResult
from shared.foundry.service import FoundryService
from tests.support.laboratory import JsonObject, Laboratory, Where, new_name

from .turning import Way, take_turn

LOOK = client_tools([{"type": "function", "name": "look"}])
ATTEMPTS = 3
SECONDS = 8.0

FAULTS: dict[str, JsonObject] = {
    "drop": {"kind": "drop"},
    "drop after work": {"kind": "work_then_drop"},
    "500": {"kind": "status", "status": 500},
    "500 after work": {"kind": "work_then_status"},
    **{f"cut after {n}": {"kind": "cut_stream", "after_events": n} for n in range(1, 7)},
    "no end": {"kind": "no_terminal", "at": 6},
}


async def until_answered(
    service: FoundryService, way: Way, turn: TurnRequest, thread: ThreadRef
) -> tuple[TurnResult, ThreadRef]:
    """Send a turn as a caller does who sends it again unless it was answered."""
    got = await take_turn(service, way, turn, thread)
    for _ in range(ATTEMPTS):
        if got.result is None:
            thread = replace(thread, look_first=True, sent_before=True)
            got = await take_turn(service, way, turn, thread)
    result = got.result
    assert result is not None, got.outcome
    return result, replace(
        thread,
        last_response_id=result.response_id,
        last_item_id=result.last_item_id,
        look_first=False,
        sent_before=False,
        owed=result.owed,
    )


@pytest.mark.parametrize("where", [Where.THREAD, Where.CHAIN])
@pytest.mark.parametrize("way", Way)
async def test_each_call_has_one_output(lab: Laboratory, where: Where, way: Way) -> None:
    service = await lab.shared(where, SECONDS)

    async def run(fault: JsonObject, *, at_output: bool) -> None:
        name = new_name("look")
        asking, answering = {"cell": name}, {"cell": f"{name}-output"}
        await lab.arm(mark=answering if at_output else asking, **fault)
        thread = await service.create_thread({})
        turn = TurnRequest('/call look {"at": 1}', client_tools=LOOK, metadata=asking)
        result, thread = await until_answered(service, way, turn, thread)
        [call] = result.calls
        output = ClientOutput(call.call_id, "seen")
        turn = TurnRequest("", client_tools=LOOK, outputs=(output,), metadata=answering)
        result, thread = await until_answered(service, way, turn, thread)
        assert result.content == "look answered: seen"
        result, thread = await until_answered(service, way, TurnRequest("then"), thread)
        assert result.content == "You said: then"
        kinds = [item["type"] for item in await stored(lab, thread)]
        assert sorted(kinds) == [
            *["function_call", "function_call_output"],
            *["message"] * 4,
        ], f"{fault} at_output={at_output}"

    async with asyncio.TaskGroup() as group:
        for fault in FAULTS.values():
            for at_output in (False, True):
                group.create_task(run(fault, at_output=at_output))


async def stored(lab: Laboratory, thread: ThreadRef) -> list[JsonObject]:
    if thread.conversation_id:
        return await lab.items(thread.conversation_id)
    return await lab.chain(thread.last_response_id)
