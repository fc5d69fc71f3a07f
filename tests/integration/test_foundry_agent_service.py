"""The documented Python client, against a running Foundry.

Foundry here is the emulator in a process of its own; the client signs in as a managed identity,
as it does in Azure, or with an API key at the resource endpoint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from local.services import IDENTITY_HEADER, FoundryEmulator
from shared.ml import (
    FoundryAgentServiceClient,
    FoundryAgentServiceConfig,
    FoundryResponse,
    ThreadInfo,
)

API_KEY = "local-key"
METRICS = {
    "total_requests",
    "successful_requests",
    "failed_requests",
    "average_latency",
    "total_tokens_used",
}
NAME_QUESTION = ["My name is Ada.", "What is my name?"]


@pytest.fixture
def environment(foundry: FoundryEmulator, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of an app in Azure: a project endpoint and a managed identity."""
    monkeypatch.setenv("FOUNDRY_AGENT_SERVICE_ENDPOINT", foundry.project_endpoint)
    monkeypatch.setenv("IDENTITY_ENDPOINT", foundry.token_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
    for name in ("FOUNDRY_AGENT_SERVICE_API_KEY", "FOUNDRY_AGENT_ID", "FOUNDRY_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
async def client(environment: pytest.MonkeyPatch) -> AsyncIterator[FoundryAgentServiceClient]:
    async with FoundryAgentServiceClient() as client:
        yield client


@pytest.fixture
async def key_client(foundry: FoundryEmulator) -> AsyncIterator[FoundryAgentServiceClient]:
    config = FoundryAgentServiceConfig(endpoint_url=f"{foundry.url}/openai/v1", api_key=API_KEY)
    async with FoundryAgentServiceClient(config) as client:
        yield client


def test_the_configuration_has_the_documented_defaults() -> None:
    config = FoundryAgentServiceConfig()
    assert (config.endpoint_url, config.api_key, config.agent_id) == ("", "", "")
    assert config.model == "llama-3.3-70b"
    assert config.enable_stateful_threads
    assert config.enable_entra_agent_id
    assert config.enable_foundry_tools
    assert (config.timeout, config.max_retries, config.max_tokens) == (60, 3, 4096)
    assert (config.temperature, config.top_p) == (0.7, 0.9)


def test_the_configuration_comes_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FOUNDRY_AGENT_ID", "helper")
    environment.setenv("FOUNDRY_TIMEOUT", "30")
    environment.setenv("FOUNDRY_TEMPERATURE", "0.2")
    config = FoundryAgentServiceConfig.from_env()
    assert config.endpoint_url.endswith("/api/projects/local")
    assert (config.agent_id, config.timeout, config.temperature) == ("helper", 30, 0.2)
    environment.setenv("FOUNDRY_TEMPERATURE", "1.2")
    with pytest.raises(ValueError, match="FOUNDRY_TEMPERATURE"):
        FoundryAgentServiceConfig.from_env()


async def test_a_missing_endpoint_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("FOUNDRY_AGENT_SERVICE_ENDPOINT")
    client = FoundryAgentServiceClient()
    with pytest.raises(ValueError, match="Foundry Agent Service endpoint URL not configured"):
        await client.initialize()


async def test_a_missing_key_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FOUNDRY_ENABLE_ENTRA_AGENT_ID", "false")
    client = FoundryAgentServiceClient()
    with pytest.raises(ValueError, match="Foundry Agent Service API key not configured"):
        await client.initialize()


async def test_a_missing_agent_is_a_warning(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with FoundryAgentServiceClient():
            assert "Agent ID not configured" in caplog.text


async def test_a_message_is_answered(client: FoundryAgentServiceClient) -> None:
    response = await client.send_message("Hello", domain="sales", temperature=0.1)
    assert isinstance(response, FoundryResponse)
    assert response.success, response.error
    assert response.content == "You said: Hello"
    assert response.model == "llama-3.3-70b"
    assert response.thread_id is None
    assert response.tools_used == []
    assert response.usage["total_tokens"] == sum(
        response.usage[name] for name in ("input_tokens", "output_tokens")
    )
    assert response.metadata["request_id"]


async def test_the_system_prompt_reaches_the_model(client: FoundryAgentServiceClient) -> None:
    response = await client.send_message("/system", system_prompt="Be brief.")
    assert "Be brief." in response.content


async def test_a_failure_is_an_answer_that_says_what_to_do(
    client: FoundryAgentServiceClient,
) -> None:
    response = await client.send_message("Hello", model="no-such-deployment")
    assert not response.success
    assert response.error_code == "model_not_found"
    assert response.error is not None
    assert "deployment" in response.error


async def test_a_filtered_message_is_a_failure(client: FoundryAgentServiceClient) -> None:
    response = await client.send_message("[[content_filter]]")
    assert response.error_code == "content_filter"


async def test_a_thread_remembers(client: FoundryAgentServiceClient) -> None:
    thread_id = await client.create_thread({"topic": "names"})
    answers = [await client.send_message(text, thread_id) for text in NAME_QUESTION]
    assert "Ada" in answers[1].content
    assert {answer.thread_id for answer in answers} == {thread_id}
    assert "Ada" not in (await client.send_message(NAME_QUESTION[1])).content


async def test_a_thread_at_the_resource_endpoint_remembers_too(
    key_client: FoundryAgentServiceClient,
) -> None:
    thread_id = await key_client.create_thread()
    answers = [await key_client.send_message(text, thread_id) for text in NAME_QUESTION]
    assert "Ada" in answers[1].content
    page = await key_client.list_messages(thread_id)
    assert [message.content for message in page.messages][::2][::-1] == [
        answer.content for answer in answers
    ]
    assert await key_client.delete_thread(thread_id)


async def test_a_thread_can_be_looked_at_and_changed(client: FoundryAgentServiceClient) -> None:
    thread_id = await client.create_thread({"topic": "names"})
    await client.send_message("Hello", thread_id)
    info = await client.get_thread_info(thread_id)
    assert isinstance(info, ThreadInfo)
    assert (info.thread_id, info.message_count) == (thread_id, 1)
    assert info.last_accessed > info.created_at
    changed = await client.update_thread(thread_id, {"state": "open"})
    assert changed.metadata == {"topic": "names", "state": "open"}
    assert thread_id in {info.thread_id for info in await client.list_threads()}


async def test_another_client_can_go_on_with_a_thread(client: FoundryAgentServiceClient) -> None:
    thread_id = await client.create_thread({"topic": "names"})
    await client.send_message(NAME_QUESTION[0], thread_id)
    await client.update_thread(thread_id, {"state": "open"})
    async with FoundryAgentServiceClient(client.config) as other:
        info = await other.get_thread_info(thread_id)
        assert info is not None
        assert info.metadata == {"topic": "names", "state": "open"}
        assert "Ada" in (await other.send_message(NAME_QUESTION[1], thread_id)).content


async def test_a_threads_messages_are_paged_newest_first(
    client: FoundryAgentServiceClient,
) -> None:
    thread_id = await client.create_thread()
    for text in ("one", "two"):
        await client.send_message(text, thread_id)
    newest = await client.list_messages(thread_id, limit=3)
    oldest = await client.list_messages(thread_id, limit=3, cursor=newest.next_cursor)
    messages = [*newest.messages, *oldest.messages]
    assert [(message.role, message.content) for message in messages] == [
        ("assistant", "You said: two"),
        ("user", "two"),
        ("assistant", "You said: one"),
        ("user", "one"),
    ]
    assert oldest.next_cursor is None


async def test_a_deleted_thread_is_gone(client: FoundryAgentServiceClient) -> None:
    thread_id = await client.create_thread()
    assert await client.delete_thread(thread_id) is True
    assert await client.get_thread_info(thread_id) is None
    assert await client.delete_thread(thread_id) is False
    assert (await client.send_message("Hello", thread_id)).error_code == "not_found"


async def test_the_metrics_have_the_documented_keys(client: FoundryAgentServiceClient) -> None:
    assert client.get_metrics().keys() >= METRICS
    sent = [client.send_message(str(number)) for number in range(10)]
    answers = await asyncio.gather(*sent, client.send_message("x", model="no-such-deployment"))
    metrics = client.get_metrics()
    assert metrics["total_requests"] == 11
    assert metrics["successful_requests"] == 10
    assert metrics["failed_requests"] == 1
    assert metrics["total_tokens_used"] == sum(
        answer.usage.get("total_tokens", 0) for answer in answers
    )
    assert metrics["average_latency"] > 0


async def test_health_is_whether_foundry_knows_what_is_configured(
    client: FoundryAgentServiceClient, key_client: FoundryAgentServiceClient
) -> None:
    assert await client.health_check() is True
    assert await key_client.health_check() is True
    missing = client.config.model_copy(update={"agent_id": "nobody"})
    async with FoundryAgentServiceClient(missing) as other:
        assert await other.health_check() is False


async def test_a_wrong_key_is_reported(foundry: FoundryEmulator) -> None:
    config = FoundryAgentServiceConfig(endpoint_url=f"{foundry.url}/openai/v1", api_key="wrong")
    async with FoundryAgentServiceClient(config) as client:
        response = await client.send_message("Hello")
        assert response.error_code == "authentication_failed"
        assert await client.health_check() is False
