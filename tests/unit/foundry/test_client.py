"""The documented Python client, on a scripted Foundry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import shared.foundry
from shared.config import FoundryAgentServiceConfig, IdentitySettings
from shared.foundry import (
    ConfigurationError,
    FoundryAgentServiceClient,
    NotFoundError,
    RateLimitedError,
)
from tests.support.app_on_fakes import at_project, at_resource
from tests.support.scripted_foundry import ScriptedFoundry

NO_RETRY = at_resource(max_retries=0)


@pytest.fixture
def foundry() -> ScriptedFoundry:
    return ScriptedFoundry()


@pytest.fixture
async def client(foundry: ScriptedFoundry) -> AsyncIterator[FoundryAgentServiceClient]:
    """A client that calls a model with an API key."""
    async with FoundryAgentServiceClient(NO_RETRY, http=foundry.transport) as client:
        yield client


@pytest.fixture
async def agent(
    foundry: ScriptedFoundry, identity: IdentitySettings
) -> AsyncIterator[FoundryAgentServiceClient]:
    """A client that calls an agent with an Entra identity."""
    made = FoundryAgentServiceClient(at_project(), identity=identity, http=foundry.transport)
    async with made as client:
        yield client


def test_the_public_names_are_sorted_and_there() -> None:
    assert sorted(shared.foundry.__all__) == shared.foundry.__all__
    assert all(hasattr(shared.foundry, name) for name in shared.foundry.__all__)


async def test_an_answer_has_all_documented_fields(client: FoundryAgentServiceClient) -> None:
    response = await client.send_message("Hi", domain="sales", temperature=0.1, max_tokens=9)
    assert response.success
    assert response.content == "You said: Hi"
    assert (response.thread_id, response.agent_id) == (None, None)
    assert response.model == "llama-3.3-70b"
    assert response.tools_used == []
    assert response.usage == {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
    assert response.metadata["response_id"].startswith("resp_")
    assert response.metadata["finish_reason"] == "stop"
    assert (response.error, response.error_code) == (None, None)


async def test_a_failure_of_the_service_is_an_answer(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    foundry.then_fail(429, {"code": "rate_limit_exceeded"}, retry_after="4", x_request_id="r-1")
    response = await client.send_message("Hi", model="other")
    assert not response.success
    assert (response.content, response.model) == ("", "other")
    assert response.error_code == "rate_limited"
    assert response.error is not None
    assert "quota" in response.error
    assert response.metadata == {"request_id": "r-1"}


async def test_a_failure_raises_where_asked_to(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    foundry.then_fail(429, retry_after="1")
    with pytest.raises(RateLimitedError) as caught:
        await client.send_message_or_raise("Hi")
    assert caught.value.retry_after == 1
    assert (await client.send_message_or_raise("Hi")).content == "You said: Hi"


async def test_an_unknown_option_is_a_type_error(client: FoundryAgentServiceClient) -> None:
    with pytest.raises(TypeError, match="temprature"):
        await client.send_message("Hi", temprature=1)


async def test_a_thread_carries_the_conversation(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await agent.create_thread({"topic": "names"})
    for message in ("My name is Ada.", "What is my name?"):
        response = await agent.send_message(message, thread_id)
        assert response.thread_id == thread_id
    assert {body["conversation"] for body in foundry.sent} == {thread_id}
    info = await agent.get_thread_info(thread_id)
    assert info is not None
    assert (info.thread_id, info.agent_id, info.message_count) == (thread_id, "helper", 2)
    assert info.last_accessed > info.created_at
    assert info.metadata == {"topic": "names"}
    page = await agent.list_messages(thread_id, limit=10)
    assert [message.role for message in page.messages] == ["assistant", "user"] * 2


async def test_a_thread_without_conversations_is_a_chain(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await client.create_thread()
    first = await client.send_message("one", thread_id)
    await client.send_message("two", thread_id)
    assert thread_id.startswith("thread_")
    assert "previous_response_id" not in foundry.sent[0]
    assert foundry.sent[1]["previous_response_id"] == first.metadata["response_id"]
    page = await client.list_messages(thread_id)
    assert page.messages[0].content == "You said: two"


async def test_a_thread_that_another_client_made_can_be_used(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    foundry.conversations["conv_other"] = []
    assert (await agent.send_message("Hi", "conv_other")).success
    info = await agent.get_thread_info("conv_other")
    assert info is not None
    assert info.created_at.year == 2026


async def test_metadata_is_merged(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await agent.create_thread({"a": "1", "b": "1"})
    info = await agent.update_thread(thread_id, {"b": "2", "c": "3"})
    assert info.metadata == {"a": "1", "b": "2", "c": "3"}
    assert foundry.calls[-1].body == {"metadata": info.metadata}


async def test_threads_are_listed_newest_first(agent: FoundryAgentServiceClient) -> None:
    ids = [await agent.create_thread() for _ in range(3)]
    assert [info.thread_id for info in await agent.list_threads()] == ids[::-1]


async def test_a_deleted_thread_is_gone(agent: FoundryAgentServiceClient) -> None:
    thread_id = await agent.create_thread()
    assert await agent.delete_thread(thread_id) is True
    assert await agent.delete_thread(thread_id) is False
    assert await agent.get_thread_info(thread_id) is None
    assert await agent.list_threads() == []
    response = await agent.send_message("Hi", thread_id)
    assert response.error_code == "not_found"
    for call in (agent.list_messages(thread_id), agent.update_thread(thread_id, {})):
        with pytest.raises(NotFoundError):
            await call


async def test_the_figures_count_successes_and_failures(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    assert client.get_metrics()["average_latency"] == 0
    await client.send_message("one")
    foundry.then_fail(500)
    await client.send_message("two")
    figures = client.get_metrics()
    assert figures["total_requests"] == 2
    assert figures["successful_requests"] == 1
    assert figures["failed_requests"] == 1
    assert figures["total_tokens_used"] == 5
    assert figures["average_latency"] > 0
    assert figures["in_flight"] == 0


async def test_figures_show_what_is_in_flight(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    release = asyncio.Event()
    arrived = foundry.then_hold(release)
    sending = asyncio.create_task(client.send_message("Hi"))
    await arrived.wait()
    assert client.get_metrics()["in_flight"] == 1
    release.set()
    await sending
    assert client.get_metrics()["in_flight"] == 0


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_health_is_what_foundry_says(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry, status: int
) -> None:
    assert await client.health_check() is True
    foundry.then(httpx.Response(status, json={}), "/models")
    assert await client.health_check() is False
    assert foundry.sent == []


async def test_health_of_an_agent_asks_for_that_agent(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    assert await agent.health_check() is True
    call = foundry.calls[-1]
    assert call.path.endswith("/api/projects/p/agents/helper")
    assert call.query == {"api-version": "v1"}


async def test_health_of_a_client_that_cannot_work_is_false() -> None:
    client = FoundryAgentServiceClient(
        FoundryAgentServiceConfig(), http=ScriptedFoundry().transport
    )
    assert await client.health_check() is False
    await client.aclose()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"endpoint_url": ""}, "Foundry Agent Service endpoint URL not configured"),
        (
            {"api_key": "", "enable_entra_agent_id": False},
            "Foundry Agent Service API key not configured",
        ),
        (
            {"endpoint_url": "https://acme.services.ai.azure.com/api/projects/p"},
            "takes Entra tokens only",
        ),
        (
            {"endpoint_url": "https://acme.services.ai.azure.com/api/projects/p", "api_key": ""}
            | {"agent_id": "asst_1"},
            "FOUNDRY_AGENT_ID",
        ),
        ({"agent_id": "a" * 257}, "FOUNDRY_AGENT_ID must be at most 256"),
        ({"agent_id": "a\x00b"}, "FOUNDRY_AGENT_ID must be at most 256"),
        ({"endpoint_url": "https://acme.services.ai.azure.com/models"}, "no Foundry surface"),
        ({"endpoint_url": "http://acme.services.ai.azure.com/openai/v1"}, "use https://"),
    ],
)
async def test_what_cannot_work_is_refused_at_once(settings: dict[str, Any], text: str) -> None:
    foundry = ScriptedFoundry()
    client = FoundryAgentServiceClient(at_resource(**settings), http=foundry.transport)
    with pytest.raises(ValueError, match=text):
        await client.initialize()
    with pytest.raises(ConfigurationError, match=text):
        await client.send_message("Hi")
    assert foundry.calls == []
    await client.aclose()


async def test_a_machine_without_any_identity_needs_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    client = FoundryAgentServiceClient(
        at_resource(api_key=""), identity=IdentitySettings(), http=ScriptedFoundry().transport
    )
    with pytest.raises(ValueError, match="API key not configured") as caught:
        await client.initialize()
    assert "az login" in str(caught.value)


async def test_a_missing_agent_is_worth_a_warning(
    caplog: pytest.LogCaptureFixture, identity: IdentitySettings
) -> None:
    with caplog.at_level(logging.WARNING, logger="shared.foundry.client"):
        async with FoundryAgentServiceClient(at_resource(), http=ScriptedFoundry().transport):
            pass
        async with FoundryAgentServiceClient(
            at_project(), identity=identity, http=ScriptedFoundry().transport
        ):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "Agent ID not configured: messages go to the model llama-3.3-70b"
    ]


async def test_switched_off_threads_are_refused() -> None:
    config = at_resource(enable_stateful_threads=False)
    async with FoundryAgentServiceClient(config, http=ScriptedFoundry().transport) as client:
        with pytest.raises(ConfigurationError, match="FOUNDRY_ENABLE_STATEFUL_THREADS"):
            await client.create_thread()


async def test_a_conversation_without_a_date_can_be_used(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    foundry.conversations["conv_x"] = []
    foundry.then(httpx.Response(200, json={"id": "conv_x"}), "/conversations/conv_x")
    assert (await agent.send_message("Hi", "conv_x")).success


async def test_a_thread_id_cannot_lead_elsewhere(
    agent: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    await agent.get_thread_info("x/../../responses/resp_1?y=")
    assert not any(call.path.endswith("/resp_1") for call in foundry.calls)


async def test_half_a_character_breaks_nothing(client: FoundryAgentServiceClient) -> None:
    half: dict[str, Any] = {"system_prompt": "half \udc00", "metadata": {"half \ud800": "\ud83d"}}
    thread_id = await client.create_thread({"half \ud800": "\ud83d"})
    for _ in range(2):
        response = await client.send_message("half \ud83d", thread_id, "\udfff", **half)
        assert response.content == "You said: half ?"
