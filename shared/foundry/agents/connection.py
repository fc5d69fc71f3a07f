"""The way to a project's agents, with the settings of the environment."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ...config import FoundryAgentServiceConfig, IdentitySettings
from ...identity.credentials import EntraCredential
from ...identity.resolution import token_credential
from ..endpoint import Endpoint
from ..errors import ConfigurationError
from ..transport import Call, Reply, Transport
from .operations import Agents

CALL_SECONDS = 30.0


@asynccontextmanager
async def open_agents(
    config: FoundryAgentServiceConfig, identity: IdentitySettings
) -> AsyncGenerator[Agents]:
    """The agents of the configured project, reached with an Entra identity: keys do not work here.

    Raises:
        ConfigurationError: naming what is missing.
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
