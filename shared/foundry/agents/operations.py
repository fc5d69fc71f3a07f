"""The agents of a Foundry project: names with immutable versions.

https://learn.microsoft.com/azure/ai-foundry/agents/concepts/agents; paths as in
`azure-ai-projects` 2.10.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ...config import FoundryAgentServiceConfig, IdentitySettings
from ...identity.credentials import EntraCredential
from ...identity.resolution import token_credential
from ..endpoint import AgentReference, Endpoint, Surface
from ..errors import ConfigurationError, NotFoundError, ProtocolError
from ..transport import Call, Reply, Send, Transport
from ..wire_json import JsonObject, object_at, objects_at, text_at

MANAGEMENT_API_VERSION = "v1"
PAGE_SIZE = 100

CALL_SECONDS = 30.0


class Agents:
    """Operations on agents; what they return is JSON as Foundry sends it."""

    def __init__(self, endpoint: Endpoint, send: Send) -> None:
        """Manage the agents of the project at ``endpoint``.

        Raises:
            ConfigurationError: if it is a resource endpoint, which has no agents.
        """
        if endpoint.surface is not Surface.PROJECT:
            raise ConfigurationError(
                "Agents belong to a project: set FOUNDRY_AGENT_SERVICE_ENDPOINT to the project "
                "endpoint, https://<account>.services.ai.azure.com/api/projects/<project>."
            )
        self._root = f"{endpoint.root}/agents"
        self._send = send

    async def get(self, agent: AgentReference) -> JsonObject:
        """A version of an agent, by default the latest.

        It has `name`, `version`, `definition`, `description`, `metadata`, `created_at`, `status`.

        Raises:
            NotFoundError: if there is no such agent or version.
        """
        if agent.version:
            return await self._call("GET", f"{agent.name}/versions/{agent.version}")
        latest = object_at(object_at(await self._call("GET", agent.name), "versions"), "latest")
        if not latest:
            raise ProtocolError(f"Foundry describes the agent '{agent.name}' without a version.")
        return latest

    async def find(self, agent: AgentReference) -> JsonObject | None:
        """A version of an agent, by default the latest; None if it does not exist."""
        try:
            return await self.get(agent)
        except NotFoundError:
            return None

    async def list(self) -> AsyncGenerator[JsonObject]:
        """Every agent, with `name`, `state` and its latest version under `versions`."""
        query: dict[str, str | int] = {"limit": PAGE_SIZE, "order": "asc"}
        while True:
            page = await self._call("GET", "", query=query)
            for agent in objects_at(page, "data"):
                yield agent
            last_id = text_at(page, "last_id")
            if not page.get("has_more") or last_id is None:
                return
            query["after"] = last_id

    async def create_version(self, name: str, version: JsonObject) -> JsonObject:
        """Create a version, and the agent too if it does not exist; returns the version.

        Args:
            name: Name of the agent.
            version: `definition`, and optionally `description` and `metadata`.
        """
        return await self._call("POST", f"{name}/versions", body=version)

    async def delete(self, agent: AgentReference) -> None:
        """Delete a version, or the agent with all its versions if no version is given.

        Raises:
            NotFoundError: if there is no such agent or version.
        """
        version = f"/versions/{agent.version}" if agent.version else ""
        await self._call("DELETE", agent.name + version)

    async def _call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        query: dict[str, str | int] | None = None,
    ) -> JsonObject:
        url = f"{self._root}/{path}" if path else self._root
        query = {"api-version": MANAGEMENT_API_VERSION, **(query or {})}
        return (await self._send(Call(method, url, body, query))).body


@asynccontextmanager
async def open_agents(
    config: FoundryAgentServiceConfig, identity: IdentitySettings
) -> AsyncGenerator[Agents]:
    """Open the agents of the configured project; this needs an Entra identity, not an API key.

    Raises:
        ConfigurationError: if the endpoint is not a project, or there is no Entra identity.
    """
    endpoint = Endpoint.parse(config.endpoint_url)
    tokens = token_credential(identity)
    if tokens is None:
        raise ConfigurationError(
            "Agents are managed with an Entra identity: sign in with 'az login', or run where a "
            "managed identity is assigned."
        )
    transport = Transport(EntraCredential(tokens), pool_size=config.pool_size, url=endpoint.openai)

    async def send(call: Call) -> Reply:
        return await transport.send(call, seconds=CALL_SECONDS)

    try:
        yield Agents(endpoint, send)
    finally:
        await transport.aclose()
