"""The Foundry surface as this product uses it: threads, turns, health.

One `FoundryService` serves a process. It connects when first used, so an app whose Foundry is
not configured or not reachable still starts and says so per request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

import httpx

from ..config import FoundryAgentServiceConfig, IdentitySettings
from ..identity.credentials import (
    ApiKeyCredential,
    Credential,
    EntraCredential,
    token_credential,
)
from .conversations import Conversations
from .endpoint import AgentReference, Endpoint, Surface
from .errors import ConfigurationError, FoundryError, NotFoundError
from .metrics import ClientMetrics
from .models import Backing, MessagePage, TurnRequest, TurnResult
from .responses import RequestBuilder, parse_response
from .transport import Call, Reply, Transport
from .wire_json import JsonObject

MANAGEMENT_API_VERSION = "v1"

SHORT_CALL_SECONDS = 30.0
"""For calls that do not wait for a model."""


@dataclass(frozen=True, slots=True)
class _Connection:
    endpoint: Endpoint
    builder: RequestBuilder
    transport: Transport
    conversations: Conversations


class FoundryService:
    """Talks to one Foundry endpoint with one identity."""

    def __init__(
        self,
        config: FoundryAgentServiceConfig,
        identity: IdentitySettings | None = None,
        *,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self.metrics = ClientMetrics()
        self._identity = identity
        self._http = http
        self._connected: _Connection | None = None

    def connect(self) -> None:
        """Check the configuration and make the connection pool; no request is sent.

        Raises:
            ConfigurationError: naming the setting that is missing or cannot work.
        """
        if self._connected is None:
            self._connected = self._open()

    def _open(self) -> _Connection:
        endpoint = Endpoint.parse(self.config.endpoint_url)
        builder = RequestBuilder(self.config, AgentReference.parse(self.config.agent_id))
        transport = Transport(
            self._credential(endpoint), pool_size=self.config.pool_size, http=self._http
        )

        async def send(call: Call) -> Reply:
            return await transport.send(call, seconds=SHORT_CALL_SECONDS)

        return _Connection(endpoint, builder, transport, Conversations(endpoint, send))

    def _credential(self, endpoint: Endpoint) -> Credential:
        if self.config.api_key:
            if endpoint.surface is Surface.PROJECT:
                raise ConfigurationError(
                    "An API key cannot work at a project endpoint, which takes Entra tokens only. "
                    "Clear FOUNDRY_AGENT_SERVICE_API_KEY to sign in with Entra, or use the "
                    "resource endpoint https://<account>.services.ai.azure.com/openai/v1."
                )
            return ApiKeyCredential(self.config.api_key)
        tokens = None
        if self.config.enable_entra_agent_id:
            tokens = token_credential(self._identity or IdentitySettings.from_env())
        if tokens is None:
            raise ConfigurationError(
                "Foundry Agent Service API key not configured: set FOUNDRY_AGENT_SERVICE_API_KEY, "
                "or set FOUNDRY_ENABLE_ENTRA_AGENT_ID=true and assign a managed identity (in "
                "Azure) or sign in with 'az login' (on your machine)."
            )
        return EntraCredential(tokens)

    @property
    def _connection(self) -> _Connection:
        self.connect()
        assert self._connected is not None  # noqa: S101 - `connect` has just set it
        return self._connected

    async def respond(
        self, turn: TurnRequest, backing: Backing | None = None, *, seconds: float | None = None
    ) -> TurnResult:
        """Run one turn, on a thread where ``backing`` is given, within ``seconds``.

        Raises:
            FoundryError: of the kind that tells what to do.
        """
        connection = self._connection
        body = connection.builder.build(turn, backing)
        call = Call("POST", f"{connection.endpoint.openai}/responses", body)
        with self.metrics.turn():
            started = perf_counter()
            reply = await connection.transport.send(call, seconds=seconds or self.config.timeout)
            result = parse_response(reply, latency=perf_counter() - started)
        self.metrics.used(result)
        return replace(result, agent_id=result.agent_id or self.config.agent_id or None)

    async def create_thread(self, metadata: dict[str, str]) -> Backing:
        """Make what will back a new thread."""
        if not self.config.enable_stateful_threads:
            raise ConfigurationError(
                "Threads are switched off. Set FOUNDRY_ENABLE_STATEFUL_THREADS=true to allow them."
            )
        return await self._connection.conversations.create(metadata)

    async def conversation(self, conversation_id: str) -> JsonObject:
        """The conversation object behind a thread.

        Raises:
            NotFoundError: if there is none, or the endpoint has no conversations.
        """
        if not self._connection.endpoint.has_conversations:
            raise NotFoundError(f"This client knows no thread {conversation_id}.")
        return await self._connection.conversations.get(conversation_id)

    async def update_thread(self, backing: Backing, metadata: dict[str, str]) -> None:
        """Replace the metadata that Foundry keeps for a thread, where it keeps any."""
        if backing.conversation_id:
            await self._connection.conversations.update(backing.conversation_id, metadata)

    async def delete_thread(self, backing: Backing) -> None:
        """Delete what backs a thread; one that is already gone counts as deleted."""
        try:
            await self._connection.conversations.delete(backing)
        except NotFoundError:
            return

    async def messages(
        self, backing: Backing, *, limit: int = 20, cursor: str | None = None
    ) -> MessagePage:
        """A page of a thread's history, newest message first; ``limit`` is 1 to 100."""
        return await self._connection.conversations.messages(backing, limit, cursor)

    async def check(self) -> None:
        """Ask Foundry for the agent or model in use; costs no tokens.

        Raises:
            FoundryError: saying what is wrong.
        """
        connection = self._connection
        root = connection.endpoint.root
        if connection.endpoint.surface is Surface.RESOURCE:
            call = Call("GET", f"{connection.endpoint.openai}/models")
        else:
            agent = connection.builder.agent
            path = f"agents/{agent.name}" if agent else f"deployments/{self.config.model}"
            call = Call("GET", f"{root}/{path}", query={"api-version": MANAGEMENT_API_VERSION})
        await connection.transport.send(call, seconds=SHORT_CALL_SECONDS)

    async def healthy(self) -> bool:
        """Whether `check` passes."""
        try:
            await self.check()
        except FoundryError:
            return False
        return True

    async def aclose(self) -> None:
        """Close all connections."""
        if self._connected is not None:
            await self._connected.transport.aclose()
            self._connected = None
