"""A chat-completions server: what it is sent, how its answers are read, when it is asked again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from shared.config import IdentitySettings
from shared.foundry.errors import (
    AuthenticationError,
    ConfigurationError,
    FoundryError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
)
from shared.foundry.events import MessageDelta
from shared.foundry.models import FinishReason
from shared.orchestration import ModelType
from shared.turns.command import AnsweredTurn
from tests.support.net import VLLM, Net, foundry_config, model_settings

from .conftest import Asking, Build

ONLY_VLLM = "*=vllm"
UNAVAILABLE = httpx.Response(503, json={"error": {"message": "down"}})


@pytest.fixture
def vllm(build: Build) -> Asking:
    return build(models=model_settings(preferences=ONLY_VLLM))


def chunk(text: str | None = None, **choice: Any) -> str:
    delta = {"content": text} if text is not None else {}
    return httpx.Response(200, json={"id": "c1", "choices": [{"delta": delta, **choice}]}).text


def sse(*data: str) -> httpx.Response:
    return httpx.Response(200, content="".join(f"data: {piece}\n\n" for piece in data).encode())


async def test_the_request_names_model_domain_and_limits(vllm: Asking, net: Net) -> None:
    answer = await vllm.ask("Hi", ModelType.VLLM, domain="sales", top_p=0.5)
    (body,) = net.asked(VLLM)
    assert body == {
        "model": "llama-3.3-70b",
        "messages": [
            {"role": "system", "content": "You are a specialized agent for the sales domain."},
            {"role": "user", "content": "Hi"},
        ],
        "top_p": 0.5,
        "max_tokens": 4096,
    }
    (sent,) = [seen for seen in net.seen[VLLM] if seen.method == "POST"]
    assert sent.headers["authorization"] == "Bearer local-key"
    result = answer.result
    assert result.content == "You said: Hi"
    assert result.usage.keys() >= {"input_tokens", "output_tokens", "total_tokens"}
    assert (result.model, result.agent_id) == ("llama-3.3-70b", None)


async def test_the_servers_first_model_is_asked_for_once(vllm: Asking, net: Net) -> None:
    for _ in range(3):
        await vllm.ask("Hi", ModelType.VLLM)
    assert [seen.path for seen in net.seen[VLLM] if seen.method == "GET"] == ["/openai/v1/models"]


async def test_a_configured_model_is_not_asked_for(build: Build, net: Net) -> None:
    asking = build(models=model_settings(vllm_model="gpt-4.1"))
    await asking.ask("Hi", ModelType.VLLM, system_prompt="Be brief.")
    assert [seen.method for seen in net.seen[VLLM]] == ["POST"]
    assert net.asked(VLLM)[0]["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_a_failed_call_is_repeated(build: Build, net: Net) -> None:
    asking = build(foundry_config(max_retries=2), model_settings(preferences=ONLY_VLLM))
    net.fail(VLLM, UNAVAILABLE, httpx.ReadError("reset"))
    assert (await asking.ask("Hi", ModelType.VLLM)).fallback_from is None
    assert len(net.asked(VLLM)) == 3
    assert asking.models[ModelType.VLLM].backend.metrics.snapshot()["retries"] == 2


async def test_a_refusal_by_quota_says_how_long(vllm: Asking, net: Net) -> None:
    net.fail(VLLM, httpx.Response(429, headers={"retry-after": "7"}, json={}))
    with pytest.raises(RateLimitedError) as caught:
        await vllm.ask("Hi", ModelType.VLLM)
    assert caught.value.retry_after == 7
    with pytest.raises(RateLimitedError, match="quota"):  # nobody else asks in vain meanwhile
        await vllm.ask("Ho", ModelType.VLLM, "another")
    assert len(net.asked(VLLM)) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (httpx.Response(401, json={}), AuthenticationError, "VLLM_API_KEY"),
        (httpx.Response(200, text="<html>"), ProtocolError, "VLLM_SERVER_URL"),
        (httpx.Response(200, json={"choices": []}), ProtocolError, "vLLM's answer has no choices"),
        (httpx.ConnectError("refused"), ServiceUnavailableError, "vLLM cannot be reached"),
        (UNAVAILABLE, ServiceUnavailableError, "vLLM answered 503: down"),
    ],
)
async def test_errors_name_the_server_and_its_settings(
    vllm: Asking,
    net: Net,
    fault: httpx.Response | Exception,
    kind: type[FoundryError],
    told: str,
) -> None:
    net.fail(VLLM, fault)
    with pytest.raises(kind, match=told) as caught:
        await vllm.ask("Hi", ModelType.VLLM)
    assert "Foundry" not in caught.value.message
    assert "FOUNDRY_AGENT" not in caught.value.message


async def test_a_streamed_answer_comes_in_pieces(vllm: Asking, net: Net) -> None:
    events = await vllm.stream("one two three", ModelType.VLLM)
    pieces = [event.text for event in events if isinstance(event, MessageDelta)]
    last = events[-1]
    assert isinstance(last, AnsweredTurn)
    assert len(pieces) > 3
    assert "".join(pieces) == last.result.content == "You said: one two three"
    assert last.result.usage["output_tokens"] > 0
    assert net.asked(VLLM)[0]["stream_options"] == {"include_usage": True}


async def test_a_stream_may_end_without_its_done_mark(vllm: Asking, net: Net) -> None:
    net.fail(VLLM, sse(chunk("Hi"), chunk(finish_reason="length")))
    last = (await vllm.stream("Hi", ModelType.VLLM))[-1]
    assert isinstance(last, AnsweredTurn)
    assert last.result.finish_reason is FinishReason.LENGTH
    assert last.result.usage == {}


@pytest.mark.parametrize(
    "broken", [sse(), sse("{nonsense"), sse('{"error": {"message": "out of memory"}}'), sse("[]")]
)
async def test_a_stream_that_brings_nothing_is_a_failure(
    vllm: Asking, net: Net, broken: httpx.Response
) -> None:
    net.fail(VLLM, broken)
    with pytest.raises(ServiceUnavailableError):
        await vllm.stream("Hi", ModelType.VLLM)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vllm_server_url": "vllm:8000"}, "VLLM_SERVER_URL cannot be used: it is not a plain"),
        ({"vllm_server_url": "http://vllm:8000", "vllm_api_key": "k"}, "in the clear"),
        ({"azure_ml_endpoint": "http://x.inference.ml.azure.com"}, "AZURE_ML_ENDPOINT"),
        ({"azure_openai_endpoint": "https://a.openai.azure.com"}, "AZURE_OPENAI_DEPLOYMENT"),
    ],
)
def test_settings_that_cannot_work_are_named(
    build: Build, settings: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        build(models=model_settings(**settings))


@pytest.mark.parametrize(
    ("settings", "url", "header"),
    [
        (
            {"vllm_server_url": "http://vllm:8000/"},
            "http://vllm:8000/v1/chat/completions",
            (None, None),
        ),
        (
            {"azure_ml_endpoint": "https://l.inference.ml.azure.com/score", "azure_ml_key": "k"},
            "https://l.inference.ml.azure.com/v1/chat/completions",
            ("Bearer k", None),
        ),
        (
            {
                "azure_openai_endpoint": "https://a.openai.azure.com/",
                "azure_openai_api_key": "k",
                "azure_openai_deployment": "gpt-4.1",
            },
            "https://a.openai.azure.com/openai/v1/chat/completions",
            (None, "k"),
        ),
        (
            {"openai_api_key": "k"},
            "https://api.openai.com/v1/chat/completions",
            ("Bearer k", None),
        ),
        (
            {
                "azure_openai_endpoint": "https://a.openai.azure.com/openai/v1",
                "azure_openai_deployment": "gpt-4.1",
            },
            "https://a.openai.azure.com/openai/v1/chat/completions",
            ("Bearer a-token", None),
        ),
    ],
)
async def test_each_server_is_reached_with_its_own_credential(
    build: Build,
    settings: dict[str, str],
    url: str,
    header: tuple[str | None, str | None],
    identity: IdentitySettings,
) -> None:
    sent: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice], "data": [{"id": "m"}]})

    models = model_settings(
        **{"vllm_server_url": "", "vllm_api_key": "", "openai_api_key": "", **settings}
        | (
            {}
            if "openai_api_key" not in settings
            else {"openai_base_url": "https://api.openai.com/v1"}
        )
    )
    build.net = httpx.MockTransport(answer)
    asking = build(foundry_config(endpoint_url=""), models)
    (kind,) = asking.models
    await asking.ask("Hi", kind)
    last = sent[-1]
    assert str(last.url) == url
    assert (last.headers.get("authorization"), last.headers.get("api-key")) == header
