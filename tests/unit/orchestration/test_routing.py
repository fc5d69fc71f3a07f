"""Who answers: the model asked for, another one in its place, or nobody."""

from __future__ import annotations

from contextlib import aclosing
from time import perf_counter

import httpx
import pytest

from shared.config import ModelSettings, SettingsError
from shared.foundry.errors import (
    ConfigurationError,
    ContentFilteredError,
    InvalidRequestError,
    RateLimitedError,
    ServiceUnavailableError,
    StreamInterruptedError,
    TimeoutError,
)
from shared.foundry.events import MessageDelta
from shared.foundry.models import TurnRequest
from shared.orchestration import ModelType
from shared.orchestration.breaker import COOL_DOWN_SECONDS, FAILURES_TO_OPEN, Circuit
from shared.turns.command import AnsweredTurn, TurnOpened
from tests.support.net import FOUNDRY, OPENAI, VLLM, Net, foundry_config, model_settings

from .conftest import Asking, Build, command

UNAVAILABLE = httpx.Response(503, json={"error": {"code": "server_error", "message": "down"}})
LIMITED = httpx.Response(429, json={"error": {"code": "429", "message": "Too many."}})
REFUSED = httpx.Response(400, json={"error": {"code": "invalid_payload", "message": "No."}})
BROKEN = httpx.ReadError("The connection was reset.")
FOUNDRY_TYPE, VLLM_TYPE = ModelType.FOUNDRY_AGENT_SERVICE, ModelType.VLLM


def who(answer: AnsweredTurn) -> tuple[ModelType, ModelType | None, list[str | None]]:
    return answer.source, answer.fallback_from, [a.error_code for a in answer.attempts]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (UNAVAILABLE, "service_unavailable"),
        (BROKEN, "service_unavailable"),
        (httpx.ConnectError("refused"), "service_unavailable"),
        (LIMITED, "rate_limited"),
    ],
)
async def test_where_a_model_fails_the_next_preferred_one_answers(
    asking: Asking, net: Net, fault: httpx.Response | Exception, code: str
) -> None:
    net.fail(FOUNDRY, fault)
    answer = await asking.ask("Hi")
    assert who(answer) == (VLLM_TYPE, FOUNDRY_TYPE, [code, None])
    assert answer.result.content == "You said: Hi"
    assert len(net.asked(VLLM)) == 1


async def test_it_goes_down_the_list(asking: Asking, net: Net) -> None:
    net.fail(FOUNDRY, UNAVAILABLE)
    net.fail(VLLM, UNAVAILABLE)
    answer = await asking.ask("Hi", model="llama-3.3-70b")
    assert answer.source is ModelType.OPENAI
    assert net.asked(OPENAI)[0]["model"] == "gpt-4.1"


async def test_a_model_that_hangs_leaves_time_for_the_next(asking: Asking, net: Net) -> None:
    net.fail(FOUNDRY, 30.0)
    started = perf_counter()
    answer = await asking.ask("Hi", seconds=1.0)
    assert perf_counter() - started < 1.0
    assert who(answer) == (VLLM_TYPE, FOUNDRY_TYPE, ["timeout", None])


async def test_the_deadline_holds_for_all_models_together(asking: Asking, net: Net) -> None:
    for host in (FOUNDRY, VLLM, OPENAI):
        net.fail(host, 30.0)
    started = perf_counter()
    with pytest.raises(TimeoutError):
        await asking.ask("Hi", seconds=0.6)
    assert perf_counter() - started < 3.0


async def test_a_content_filter_is_final(asking: Asking, net: Net) -> None:
    with pytest.raises(ContentFilteredError):
        await asking.ask("[[content_filter]]")
    with pytest.raises(ContentFilteredError):
        await asking.ask("/filter", VLLM_TYPE)
    assert len(net.asked(VLLM)) == 1
    assert net.asked(OPENAI) == []


async def test_a_bad_request_is_final(asking: Asking, net: Net) -> None:
    net.fail(FOUNDRY, REFUSED)
    with pytest.raises(InvalidRequestError):
        await asking.ask("Hi")
    assert net.asked(VLLM) == []


async def test_nobody_else_answers_once_a_piece_was_delivered(asking: Asking, net: Net) -> None:
    half = b'data: {"id": "c", "choices": [{"delta": {"content": "Once"}}]}\n\n'
    net.fail(VLLM, httpx.Response(200, content=half))
    request = command(TurnRequest("Hi"), VLLM_TYPE)
    pieces: list[str] = []
    with pytest.raises(StreamInterruptedError) as caught:
        async with aclosing(asking.turns.stream(request)) as events:
            async for event in events:
                if isinstance(event, MessageDelta):
                    pieces.append(event.text)
    assert pieces == ["Once"]
    assert caught.value.received == "Once"
    assert (net.asked(FOUNDRY), net.asked(OPENAI)) == ([], [])


async def test_a_stream_falls_back_before_its_first_piece(asking: Asking, net: Net) -> None:
    net.fail(FOUNDRY, UNAVAILABLE)
    opened, *others, last = await asking.stream("one two")
    assert isinstance(opened, TurnOpened)
    assert isinstance(last, AnsweredTurn)
    text = "".join(event.text for event in others if isinstance(event, MessageDelta))
    assert text == last.result.content == "You said: one two"
    assert last.fallback_from is FOUNDRY_TYPE


async def test_a_stream_that_does_not_begin_falls_back(build: Build, net: Net) -> None:
    asking = build(foundry_config(timeout=0.4))
    net.fail(FOUNDRY, 30.0)
    last = (await asking.stream("Hi"))[-1]
    assert isinstance(last, AnsweredTurn)
    assert who(last) == (VLLM_TYPE, FOUNDRY_TYPE, ["timeout", None])


async def test_the_circuit_opens_probes_and_closes(asking: Asking, net: Net) -> None:
    breaker = asking.models[FOUNDRY_TYPE].breaker
    net.down(FOUNDRY, UNAVAILABLE)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.circuit is Circuit.CLOSED
        await asking.ask("Hi")
    assert breaker.circuit is Circuit.OPEN
    asked = len(net.asked(FOUNDRY))
    answer = await asking.ask("Hi")
    assert who(answer) == (VLLM_TYPE, FOUNDRY_TYPE, ["circuit_open", None])
    assert len(net.asked(FOUNDRY)) == asked

    asking.ticks.now += COOL_DOWN_SECONDS
    await asking.ask("Hi")
    assert (breaker.circuit, len(net.asked(FOUNDRY))) == (Circuit.OPEN, asked + 1)

    net.down(FOUNDRY, None)
    asking.ticks.now += COOL_DOWN_SECONDS
    assert (await asking.ask("Hi")).source is FOUNDRY_TYPE
    assert breaker.circuit is Circuit.CLOSED
    assert asking.router.snapshot()["foundry_agent_service"]["openings"] == 2


async def test_with_nobody_else_an_open_circuit_says_when_to_come_back(
    build: Build, net: Net
) -> None:
    asking = build(models=model_settings(preferences="*=foundry_agent_service"))
    net.down(FOUNDRY, UNAVAILABLE)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(ServiceUnavailableError, match="503"):
            await asking.ask("Hi")
    with pytest.raises(ServiceUnavailableError) as caught:
        await asking.ask("Hi")
    assert (caught.value.code, caught.value.retry_after) == ("circuit_open", COOL_DOWN_SECONDS)
    assert net.asked(VLLM) == []


async def test_what_went_wrong_first_is_told_where_nobody_answers(asking: Asking, net: Net) -> None:
    net.fail(FOUNDRY, UNAVAILABLE)
    net.fail(VLLM, httpx.Response(401, json={"error": {"message": "Wrong key."}}))
    net.fail(OPENAI, BROKEN)
    with pytest.raises(ServiceUnavailableError, match="Foundry answered 503"):
        await asking.ask("Hi")


async def test_tools_are_asked_of_foundry_alone(asking: Asking, net: Net) -> None:
    with pytest.raises(InvalidRequestError, match="leave out tools"):
        await asking.ask("Hi", VLLM_TYPE, tools=("data_analysis",))
    net.fail(FOUNDRY, UNAVAILABLE)
    with pytest.raises(ServiceUnavailableError):
        await asking.ask("Hi", tools=("data_analysis",))
    assert net.asked(VLLM) == []


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (ModelType.FOUNDRY_AGENT_SERVICE, "Foundry Agent Service endpoint URL not configured"),
        (ModelType.AZURE_ML, "AZURE_ML_ENDPOINT"),
        (ModelType.AZURE_OPENAI, "AZURE_OPENAI_DEPLOYMENT"),
        (ModelType.AGENT_FRAMEWORK, "use FOUNDRY_AGENT_SERVICE"),
        (ModelType.SEMANTIC_KERNEL, "use FOUNDRY_AGENT_SERVICE"),
        (ModelType.LOCAL_MODEL, "VLLM_SERVER_URL"),
    ],
)
async def test_a_model_that_is_not_there_is_refused_with_what_to_do(
    build: Build, kind: ModelType, told: str
) -> None:
    asking = build(foundry_config(endpoint_url=""))
    with pytest.raises(ConfigurationError, match=told):
        await asking.ask("Hi", kind)


async def test_foundry_is_preferred_while_it_is_healthy(asking: Asking, net: Net) -> None:
    router = asking.router
    assert await router.select("leadership") is FOUNDRY_TYPE
    checks = len(net.seen[FOUNDRY])
    assert [await router.select("sales") for _ in range(50)] == [FOUNDRY_TYPE] * 50
    assert len(net.seen[FOUNDRY]) == checks
    assert net.asked(FOUNDRY) == []

    net.down(FOUNDRY, UNAVAILABLE)
    assert await router.select("sales") is FOUNDRY_TYPE
    asking.ticks.now += 31
    assert await router.select("sales") is VLLM_TYPE


async def test_a_failed_turn_makes_the_next_choice_look(asking: Asking, net: Net) -> None:
    await asking.router.select("sales")
    net.down(FOUNDRY, UNAVAILABLE)
    await asking.ask("Hi")
    assert await asking.router.select("sales") is VLLM_TYPE
    assert (await asking.ask("Hi", None)).fallback_from is None


async def test_a_model_is_chosen_again_once_it_has_rested(asking: Asking, net: Net) -> None:
    net.down(FOUNDRY, UNAVAILABLE)
    for _ in range(FAILURES_TO_OPEN):
        await asking.ask("Hi")
    net.down(FOUNDRY, None)
    assert (await asking.ask("Hi", None)).source is VLLM_TYPE
    asking.ticks.now += COOL_DOWN_SECONDS
    assert (await asking.ask("Hi", None)).source is FOUNDRY_TYPE
    assert asking.models[FOUNDRY_TYPE].breaker.circuit is Circuit.CLOSED


async def test_preferences_are_by_domain(build: Build) -> None:
    settings = model_settings(preferences="Sales = openai, vllm; *=vllm")
    router = build(models=settings).router
    assert await router.select("sales") is ModelType.OPENAI
    assert await router.select("leadership") is VLLM_TYPE


async def test_with_no_model_at_all_the_choice_says_what_to_set(build: Build) -> None:
    nothing = model_settings(vllm_server_url="", openai_api_key="")
    asking = build(foundry_config(endpoint_url=""), nothing)
    with pytest.raises(ConfigurationError, match="VLLM_SERVER_URL"):
        await asking.router.select("sales")


@pytest.mark.parametrize(
    "setting", ["vllm", "sales=", "sales=gpt", "=vllm", "a=vllm b=vllm", "a=vllm;A=openai"]
)
def test_wrong_preferences_are_named(setting: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_PREFERENCES"):
        ModelSettings.from_env({"MODEL_PREFERENCES": setting})


async def test_callers_in_haste_open_no_circuit(build: Build, net: Net) -> None:
    asking = build(
        foundry_config(timeout=10), model_settings(preferences="*=foundry_agent_service")
    )
    for _ in range(FAILURES_TO_OPEN + 1):
        net.fail(FOUNDRY, 30.0)
        with pytest.raises(TimeoutError):
            await asking.ask("Hi", seconds=0.05)
    assert asking.models[FOUNDRY_TYPE].breaker.circuit is Circuit.CLOSED


async def test_a_model_that_is_silent_for_its_whole_time_opens_its_circuit(
    build: Build, net: Net
) -> None:
    asking = build(
        foundry_config(timeout=0.1), model_settings(preferences="*=foundry_agent_service")
    )
    for _ in range(FAILURES_TO_OPEN):
        net.fail(FOUNDRY, 30.0)
        with pytest.raises(TimeoutError):
            await asking.ask("Hi", seconds=0.1)
    assert asking.models[FOUNDRY_TYPE].breaker.circuit is Circuit.OPEN


async def test_answers_that_are_none_are_an_outage_of_the_model(asking: Asking, net: Net) -> None:
    net.down(FOUNDRY, httpx.Response(200, text="<html>", headers={"content-type": "text/html"}))
    for _ in range(FAILURES_TO_OPEN):
        answer = await asking.ask("Hi")
        assert who(answer) == (VLLM_TYPE, FOUNDRY_TYPE, ["protocol_error", None])
    assert asking.models[FOUNDRY_TYPE].breaker.circuit is Circuit.OPEN


async def test_a_limit_after_the_first_piece_is_a_limit_still(asking: Asking, net: Net) -> None:
    half = b'data: {"id": "c", "choices": [{"delta": {"content": "Once"}}]}\n\n'
    limited = b'data: {"error": {"code": "TooManyRequests", "message": "Later."}}\n\n'
    net.fail(VLLM, httpx.Response(200, content=half + limited, headers={"Retry-After": "0"}))
    with pytest.raises(RateLimitedError):
        await asking.stream("Hi", VLLM_TYPE)
