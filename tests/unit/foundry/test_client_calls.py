"""Functions that the caller runs end the turn, and their calls are handed over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from shared.config import FoundryAgentServiceConfig
from shared.foundry import client_calls
from shared.foundry.client_calls import CANCELLED, client_tools
from shared.foundry.errors import InvalidRequestError, StreamInterruptedError
from shared.foundry.events import (
    ClientCallDelta,
    ClientCallFinished,
    ClientCallStarted,
    TurnEvent,
)
from shared.foundry.models import (
    Approval,
    ClientCall,
    ClientOutput,
    FinishReason,
    RequestKind,
    ThreadRef,
    TurnRequest,
)
from shared.foundry.service import FoundryService
from tests.support.scripted_foundry import Pieces, ScriptedFoundry, response_body, sse

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at":1}',
}
OURS = {**CALL, "id": "fc_2", "call_id": "call_2", "name": "clock", "arguments": "{}"}
APPROVE = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "docs",
    "name": "search",
    "arguments": "{}",
}
CONSENT = {
    "type": "oauth_consent_request",
    "id": "oauth_1",
    "server_label": "mail",
    "consent_link": "https://consent.example/1",
}
ASK = TurnRequest("look", client_tools=client_tools([LOOK]))
THREAD = ThreadRef("conv_1")


ran: list[str] = []


def clock() -> str:
    """The time."""
    ran.append("clock")
    return "noon"


@pytest.fixture
def foundry() -> ScriptedFoundry:
    ran.clear()
    scripted = ScriptedFoundry()
    scripted.conversations["conv_1"] = []
    return scripted


@pytest.fixture
async def service(foundry: ScriptedFoundry) -> AsyncIterator[FoundryService]:
    config = FoundryAgentServiceConfig(
        endpoint_url="https://acme.example/openai/v1", api_key="k", enable_foundry_tools=True
    )
    service = FoundryService(config, tools=[clock], http=foundry.transport)
    yield service
    await service.aclose()


def answers(foundry: ScriptedFoundry, *items: dict[str, Any]) -> None:
    foundry.then(httpx.Response(200, json=response_body(output=list(items))))


async def test_a_call_ends_the_turn(foundry: ScriptedFoundry, service: FoundryService) -> None:
    answers(foundry, CALL)
    result = await service.respond(ASK)
    assert result.calls == (ClientCall("call_1", "look", '{"at":1}'),)
    assert result.finish_reason is FinishReason.TOOL_CALLS
    assert (result.owed, result.tools_used, result.tool_calls) == ((), (), ())
    [body] = foundry.sent
    assert body["tools"] == [LOOK]
    assert body["store"] is False
    assert "tool_choice" not in body


async def test_choice_and_parallel_are_sent(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, CALL)
    named = {"type": "function", "name": "look"}
    await service.respond(replace(ASK, client_tools=client_tools([LOOK], named, parallel=False)))
    assert foundry.sent[0]["tool_choice"] == named
    assert foundry.sent[0]["parallel_tool_calls"] is False


async def test_a_tool_of_the_app_runs_beside_it_and_its_output_is_owed(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, OURS, CALL)
    result = await service.respond(replace(ASK, tools=("clock",)), THREAD)
    assert [call.call_id for call in result.calls] == ["call_1"]
    assert result.tools_used == ("clock",)
    assert [(item["call_id"], item["output"]) for item in result.owed] == [
        ("call_2", "noon"),
        ("call_1", CANCELLED),
    ]
    next_turn = TurnRequest("", outputs=(ClientOutput("call_1", "seen"),))
    await service.respond(next_turn, replace(THREAD, owed=result.owed))
    sent = foundry.sent[-1]["input"]
    assert [(item["call_id"], item["output"]) for item in sent] == [
        ("call_2", "noon"),
        ("call_1", "seen"),
    ]


async def test_a_message_alone_refuses_the_call(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, CALL)
    result = await service.respond(ASK, THREAD)
    await service.respond(TurnRequest("never mind"), replace(THREAD, owed=result.owed))
    assert foundry.sent[-1]["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": CANCELLED},
        {"type": "message", "role": "user", "content": "never mind"},
    ]


async def test_without_a_thread_no_tool_runs_beside_it(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, OURS, CALL)
    result = await service.respond(replace(ASK, tools=("clock",)))
    assert [call.call_id for call in result.calls] == ["call_1"]
    assert not ran


async def test_a_required_call_of_the_app_leaves_the_next_round_free(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, OURS)
    tools = client_tools([LOOK], "required")
    await service.respond(TurnRequest("x", tools=("clock",), client_tools=tools), THREAD)
    assert [body["tool_choice"] for body in foundry.sent] == ["required", "auto"]


async def test_history_without_a_thread_is_sent_as_it_is(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    output = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
    await service.respond(replace(ASK, message="", preceding=(CALL, output)))
    assert foundry.sent[0]["input"] == [CALL, output]


def streamed(foundry: ScriptedFoundry, *events: dict[str, Any]) -> None:
    begun = {"type": "response.created", "response": {"id": "resp_1", "store": False}}
    pieces = [sse({**e, "sequence_number": n}) for n, e in enumerate([begun, *events])]
    foundry.then(httpx.Response(200, stream=Pieces(pieces)))


ADDED = {"type": "response.output_item.added", "item": {**CALL, "arguments": ""}}
DELTAS = [
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": piece}
    for piece in ('{"at"', ":1}")
]
DONE = {"type": "response.output_item.done", "item": CALL}
ENDED = {"type": "response.completed", "response": response_body(output=[CALL])}


async def test_a_call_streams_as_it_is_written(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    streamed(foundry, ADDED, *DELTAS, DONE, ENDED)
    seen: list[TurnEvent] = []
    result = await service.respond(ASK, emit=seen.append)
    call = ClientCall("call_1", "look", '{"at":1}')
    assert seen[1:] == [
        ClientCallStarted("call_1", "look"),
        ClientCallDelta("call_1", '{"at"'),
        ClientCallDelta("call_1", ":1}"),
        ClientCallFinished(call),
    ]
    assert result.calls == (call,)


async def test_what_the_stream_left_out_follows_from_the_answer(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    streamed(foundry, ADDED, DELTAS[0], ENDED)
    seen: list[TurnEvent] = []
    await service.respond(ASK, emit=seen.append)
    pieces = [event.arguments for event in seen if isinstance(event, ClientCallDelta)]
    assert pieces == ['{"at"', ":1}"]
    assert sum(isinstance(event, ClientCallFinished) for event in seen) == 1


async def test_nothing_follows_a_call_that_broke_off(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    streamed(foundry, ADDED, DELTAS[0])
    with pytest.raises(StreamInterruptedError):
        await service.respond(ASK, emit=lambda _: None)
    assert len(foundry.sent) == 1


async def test_the_caller_decides_on_approvals(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, APPROVE, CONSENT)
    result = await service.respond(TurnRequest("go", asks_caller=True), THREAD)
    assert result.finish_reason is FinishReason.APPROVAL
    asked, consent = result.requests
    assert (asked.kind, asked.tool, asked.server) == (RequestKind.APPROVAL, "search", "docs")
    assert (consent.kind, consent.link) == (RequestKind.CONSENT, "https://consent.example/1")
    thread = replace(THREAD, owed=result.owed)
    await service.respond(TurnRequest("", approvals=(Approval("mcpr_1", approve=True),)), thread)
    [sent] = foundry.sent[-1]["input"]
    assert (sent["approval_request_id"], sent["approve"]) == ("mcpr_1", True)


async def test_without_a_thread_approvals_are_refused(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, APPROVE)
    result = await service.respond(TurnRequest("go", asks_caller=True))
    assert result.requests == ()
    [sent] = foundry.sent[-1]["input"]
    assert sent["approve"] is False


async def test_a_link_that_is_no_web_address_is_left_out(
    foundry: ScriptedFoundry, service: FoundryService
) -> None:
    answers(foundry, {**CONSENT, "consent_link": "javascript:alert(1)"})
    result = await service.respond(TurnRequest("go"))
    assert [request.link for request in result.requests] == [None]


async def test_a_function_named_as_a_tool_of_the_app_is_refused(service: FoundryService) -> None:
    tools = client_tools([{**LOOK, "name": "clock"}])
    with pytest.raises(InvalidRequestError, match="clock"):
        await service.respond(replace(ASK, client_tools=tools))


@pytest.mark.parametrize(
    ("definition", "choice"),
    [
        ({**LOOK, "type": "web_search"}, None),
        ({**LOOK, "name": ""}, None),
        ({**LOOK, "name": "a b"}, None),
        ({**LOOK, "name": 7}, None),
        ({**LOOK, "parameters": "none"}, None),
        (LOOK, "sometimes"),
        (LOOK, {"type": "function"}),
        (LOOK, {"type": "function", "name": "other"}),
    ],
)
def test_a_wrong_definition_or_choice_is_refused(definition: Any, choice: Any) -> None:
    with pytest.raises(InvalidRequestError):
        client_tools([definition], choice)


def test_definitions_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="128 functions"):
        client_tools([{**LOOK, "name": f"f{n}"} for n in range(129)])
    with pytest.raises(InvalidRequestError, match="one name"):
        client_tools([LOOK, LOOK])
    monkeypatch.setattr(client_calls, "MAX_DEFINITION_BYTES", 10)
    with pytest.raises(InvalidRequestError, match="10 bytes"):
        client_tools([LOOK])


def test_what_may_be_left_out_of_a_definition() -> None:
    [definition] = client_tools([{"type": "function", "name": "f", "x": 1}]).definitions
    assert json.loads(json.dumps(definition)) == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
