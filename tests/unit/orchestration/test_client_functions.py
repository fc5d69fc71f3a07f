"""Calls of the caller's functions on a thread: answered once, whichever model goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.foundry.client_calls import CANCELLED, client_tools
from shared.foundry.errors import FoundryError, InvalidRequestError, ServiceUnavailableError
from shared.foundry.events import (
    ClientCallDelta,
    ClientCallFinished,
    ClientCallStarted,
    MessageDelta,
)
from shared.foundry.models import (
    ClientCall,
    ClientOutput,
    FinishReason,
    TurnRequest,
    TurnResult,
)
from shared.foundry.wire_json import JsonObject
from shared.orchestration import ModelType
from shared.state.exchanges import Exchanges
from shared.turns.command import AnsweredTurn
from tests.support.net import FOUNDRY, OPENAI, Net
from tests.support.net import VLLM as VLLM_HOST

from .conftest import Asking, Build, command
from .test_table_conversations import OWNER, UNAVAILABLE, Repeated, World, all_down

FOUNDRY_TYPE, VLLM = ModelType.FOUNDRY_AGENT_SERVICE, ModelType.VLLM
LOOK = client_tools([{"type": "function", "name": "look"}, {"type": "function", "name": "list"}])
MODELS = (FOUNDRY_TYPE, VLLM)
ONE, TWO = '/call look {"at": 1}', '/call look {"at": 1}\n/call list {}'


@pytest.fixture
def world(build: Build) -> World:
    return World(build)


def outputs(turn: AnsweredTurn, *texts: str) -> tuple[ClientOutput, ...]:
    calls = turn.result.calls
    return tuple(ClientOutput(call.call_id, text) for call, text in zip(calls, texts, strict=False))


async def answer(
    asking: Asking, turn: AnsweredTurn, *texts: str, model: ModelType = FOUNDRY_TYPE, **more: Any
) -> TurnResult:
    """Send outputs of a turn's calls, without a message."""
    asked = {"client_tools": LOOK, "outputs": outputs(turn, *texts), **more}
    return (await asking.ask(asked.pop("message", ""), model, **asked)).result


@pytest.mark.parametrize("first", MODELS)
@pytest.mark.parametrize("second", MODELS)
async def test_any_model_goes_on_with_the_output(
    world: World, first: ModelType, second: ModelType
) -> None:
    asking = world.instance()
    await asking.ask("before", FOUNDRY_TYPE)
    turn = await asking.ask(TWO, first, client_tools=LOOK)
    assert [call.name for call in turn.result.calls] == ["look", "list"]
    assert turn.result.finish_reason is FinishReason.TOOL_CALLS
    told = await answer(world.instance(), turn, "seen", "many", model=second)
    assert told.content == "look answered: seen\nlist answered: many"
    for model in (first, second, FOUNDRY_TYPE):
        then = await world.instance().ask("What then?", model)
        assert then.result.content == "You said: What then?"


@pytest.mark.parametrize("first", MODELS)
@pytest.mark.parametrize("second", MODELS)
async def test_a_plain_message_cancels_open_calls(
    world: World, first: ModelType, second: ModelType
) -> None:
    turn = await world.instance().ask(ONE, first, client_tools=LOOK)
    then = await world.instance().ask("never mind", second)
    assert then.result.content == "You said: never mind"
    with pytest.raises(InvalidRequestError, match=r"outputs\.0"):
        await answer(world.instance(), turn, "late")
    for model in MODELS:
        assert (await world.instance().ask("Hi", model)).result.content == "You said: Hi"


@pytest.mark.parametrize("model", MODELS)
async def test_a_call_left_out_is_cancelled(world: World, model: ModelType) -> None:
    turn = await world.instance().ask(TWO, model, client_tools=LOOK)
    told = await answer(world.instance(), turn, "seen", model=model)
    assert told.content == f"look answered: seen\nlist answered: {CANCELLED}"


@pytest.mark.parametrize("model", MODELS)
async def test_outputs_come_before_a_message_of_the_same_request(
    world: World, model: ModelType
) -> None:
    turn = await world.instance().ask(ONE, model, client_tools=LOOK)
    told = await answer(world.instance(), turn, "seen", message="and?", model=model)
    assert told.content == "You said: and?"


@pytest.mark.parametrize("given", [("unknown",), ("call", "call")])
async def test_an_output_of_no_open_call_is_refused_and_changes_nothing(
    world: World, given: tuple[str, ...]
) -> None:
    turn = await world.instance().ask(ONE, client_tools=LOOK)
    [call] = turn.result.calls
    wrong = tuple(ClientOutput(call.call_id if i == "call" else i, "x") for i in given)
    with pytest.raises(InvalidRequestError) as refused:
        await world.instance().ask("", client_tools=LOOK, outputs=wrong)
    assert refused.value.code == "unknown_call"
    assert (await answer(world.instance(), turn, "seen")).content == "look answered: seen"


async def test_calls_over_several_turns(world: World) -> None:
    turn = await world.instance().ask(ONE, client_tools=LOOK)
    again = await world.instance().ask(ONE, client_tools=LOOK, outputs=outputs(turn, "1"))
    assert [call.name for call in again.result.calls] == ["look"]
    assert (await answer(world.instance(), again, "2")).content == "look answered: 2"


@pytest.mark.parametrize("record_content", [True, False])
async def test_foundry_gets_the_answers_of_a_turn_that_another_model_took(
    world: World, net: Net, record_content: bool
) -> None:
    asking = world.instance(record_content=record_content)
    turn = await asking.ask(ONE, client_tools=LOOK)
    net.down(FOUNDRY, UNAVAILABLE)
    if record_content:
        assert (await answer(asking, turn, "seen")).content == "look answered: seen"
    else:
        with pytest.raises(ServiceUnavailableError):  # no other model knows the calls
            await answer(asking, turn, "seen")
        assert (await asking.ask("and?")).attempts[-1].model_type is VLLM
    net.down(FOUNDRY, None)
    then = await world.instance(record_content=record_content).ask("Hi")
    assert then.result.content == "You said: Hi"


async def test_nothing_stays_on_the_thread_when_all_is_answered(world: World) -> None:
    turn = await world.instance().ask(ONE, client_tools=LOOK)
    assert world.thread().open_calls.handed_over
    await answer(world.instance(), turn, "seen")
    assert not world.thread().open_calls.handed_over
    assert not world.thread().open_calls.owed


async def test_the_history_has_calls_and_outputs(world: World) -> None:
    turn = await world.instance().ask(ONE, VLLM, client_tools=LOOK)
    await answer(world.instance(), turn, "seen", model=VLLM)
    first, second = await Exchanges(world.table).read(OWNER, world.thread().thread_id, 0, 2)
    assert [call["name"] for call in first["calls"]] == ["look"]
    assert [output["output"] for output in second["outputs"]] == ["seen"]


async def test_a_repeated_request_whose_answer_was_lost_pays_once(world: World, net: Net) -> None:
    turn = await world.instance().ask(ONE, client_tools=LOOK)
    asking = world.instance()
    request = TurnRequest("", client_tools=LOOK, outputs=outputs(turn, "seen"))
    repeated = Repeated(world, asking)
    net.lose_answer(FOUNDRY)
    for host in (VLLM_HOST, OPENAI):
        net.down(host, UNAVAILABLE)
    with pytest.raises(FoundryError):
        await repeated.send(request)
    all_down(net, None)
    told = await repeated.send(request)
    assert told.result.content == "look answered: seen"
    assert sum(bool(body["input"]) for body in net.asked(FOUNDRY)) == 2
    assert (await world.instance().ask("Hi")).result.content == "You said: Hi"


@pytest.mark.parametrize("model", MODELS)
async def test_calls_stream(world: World, model: ModelType) -> None:
    asked = command(TurnRequest(TWO, client_tools=LOOK), model)
    events = [event async for event in world.instance().turns.stream(asked)]
    turn = events[-1]
    assert isinstance(turn, AnsweredTurn)
    for call in turn.result.calls:
        mine = [e for e in events if isinstance(e, ClientCallDelta) and e.call_id == call.call_id]
        assert "".join(event.arguments for event in mine) == call.arguments
        assert ClientCallStarted(call.call_id, call.name) in events
        assert ClientCallFinished(call) in events
    assert json.loads(turn.result.calls[0].arguments) == {"at": 1}
    assert not any(isinstance(event, MessageDelta) for event in events)


CALL = ClientCall("c1", "look", "{}").to_item()
OUTPUT = ClientOutput("c1", "seen").to_item()


@pytest.mark.parametrize("model", MODELS)
async def test_a_history_without_a_thread(build: Build, model: ModelType) -> None:
    said: JsonObject = {"type": "message", "role": "user", "content": "look"}
    asking = World(build).instance()
    alone = replace(
        command(TurnRequest("", client_tools=LOOK, preceding=(said, CALL, OUTPUT)), model),
        conversation_id=None,
    )
    assert (await asking.turns.run(alone)).result.content == "look answered: seen"
