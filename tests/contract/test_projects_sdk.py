"""The `azure-ai-projects` package, as a client of the project endpoint."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import pytest
from azure.ai.projects.aio import AIProjectClient
from azure.ai.projects.models import ModelDeployment, PromptAgentDefinition
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)

from .conftest import DEPLOYMENT, TOKEN, Emulator, message

OVER_HTTP: Any = {"enforce_https": False}


class StaticCredential:
    """A credential whose token is always the same text."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        return AccessToken(self._token, 4_102_444_800)

    async def close(self) -> None:
        """Hold nothing."""

    async def __aenter__(self) -> "StaticCredential":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Hold nothing."""


@pytest.fixture
async def projects(emulator: Emulator) -> AsyncIterator[AIProjectClient]:
    async with AIProjectClient(emulator.project, StaticCredential(TOKEN)) as client:
        yield client


@pytest.fixture
async def agent(projects: AIProjectClient) -> AsyncIterator[str]:
    definition = PromptAgentDefinition(model=DEPLOYMENT, instructions="Answer as a pirate.")
    made = await projects.agents.create_version("pirate", definition=definition, **OVER_HTTP)
    yield made.name
    if [a.name async for a in projects.agents.list(**OVER_HTTP) if a.name == "pirate"]:
        await projects.agents.delete("pirate", **OVER_HTTP)


async def test_agent_versions(projects: AIProjectClient, agent: str) -> None:
    agents = projects.agents
    second = await agents.create_version(
        agent,
        definition=PromptAgentDefinition(model=DEPLOYMENT, instructions="Answer as a poet."),
        description="second",
        **OVER_HTTP,
    )
    assert (second.version, second.name, second.status) == ("2", agent, "active")
    details = await agents.get(agent, **OVER_HTTP)
    assert details.versions.latest.version == "2"
    assert details.state == "enabled"
    listed = [v.version async for v in agents.list_versions(agent, limit=1, **OVER_HTTP)]
    assert listed == ["2", "1"]
    first = await agents.get_version(agent, "1", **OVER_HTTP)
    assert isinstance(first.definition, PromptAgentDefinition)
    assert first.definition.instructions == "Answer as a pirate."
    assert first.created_at.year >= 2026
    deleted = await agents.delete_version(agent, "1", **OVER_HTTP)
    assert deleted.deleted
    with pytest.raises(ResourceNotFoundError):
        await agents.get_version(agent, "1", **OVER_HTTP)


async def test_listing_and_deleting_agents(projects: AIProjectClient, agent: str) -> None:
    names = [a.name async for a in projects.agents.list(limit=1, **OVER_HTTP)]
    assert names.count(agent) == 1
    assert "assistant" in names
    gone = await projects.agents.delete(agent, **OVER_HTTP)
    assert (gone.name, gone.deleted) == (agent, True)
    with pytest.raises(ResourceNotFoundError):
        await projects.agents.get(agent, **OVER_HTTP)


async def test_a_disabled_agent_does_not_answer(projects: AIProjectClient, agent: str) -> None:
    await projects.agents.disable(agent, **OVER_HTTP)
    assert (await projects.agents.get(agent, **OVER_HTTP)).state == "disabled"
    client = projects.get_openai_client(max_retries=0)
    reference = {"agent_reference": {"type": "agent_reference", "name": agent}}
    async with client:
        with pytest.raises(Exception, match="disabled"):
            await client.responses.create(input=[message("hi")], extra_body=reference)
        await projects.agents.enable(agent, **OVER_HTTP)
        answer = await client.responses.create(input=[message("hi")], extra_body=reference)
    assert answer.output_text == "You said: hi"


async def test_deployments_and_connections(projects: AIProjectClient) -> None:
    deployment = await projects.deployments.get(DEPLOYMENT, **OVER_HTTP)
    assert isinstance(deployment, ModelDeployment)
    assert deployment.model_name == "Llama-3.3-70B-Instruct"
    assert deployment.sku.name == "GlobalStandard"
    meta = [d.name async for d in projects.deployments.list(model_publisher="Meta", **OVER_HTTP)]
    assert DEPLOYMENT in meta
    assert "gpt-4o-mini" not in meta
    connections = [c async for c in projects.connections.list(**OVER_HTTP)]
    assert connections[0].target.endswith("/openai/v1")


async def test_an_agent_answers_in_a_conversation(projects: AIProjectClient, agent: str) -> None:
    async with projects.get_openai_client() as client:
        conversation = await client.conversations.create()
        reference = {"agent_reference": {"type": "agent_reference", "name": agent}}
        answer = await client.responses.create(
            conversation=conversation.id, input=[message("/system")], extra_body=reference
        )
        assert answer.output_text == "Answer as a pirate."
        assert answer.model == DEPLOYMENT
        extra: Any = answer.model_extra
        assert extra["agent_reference"]["version"] == "1"
        item_extra: Any = answer.output[0].model_extra
        assert item_extra["response_id"] == answer.id
        with pytest.raises(Exception, match="Not allowed when agent is specified"):
            await client.responses.create(
                input=[message("hi")],
                tools=[{"type": "function", "name": "f", "parameters": {}, "strict": False}],
                extra_body=reference,
            )


async def test_a_missing_role_is_permission_denied(emulator: Emulator) -> None:
    credential = StaticCredential("local-token-without-role")
    async with AIProjectClient(emulator.project, credential, retry_total=0) as client:
        with pytest.raises(ClientAuthenticationError, match="lacks the required data action"):
            await client.agents.get("assistant", **OVER_HTTP)


async def test_an_unknown_kind_of_agent_is_refused(projects: AIProjectClient) -> None:
    definition: Any = {"kind": "workflow", "workflow": "x"}
    with pytest.raises(HttpResponseError) as refused:
        await projects.agents.create_version("w", definition=definition, **OVER_HTTP)
    assert refused.value.status_code == 400
