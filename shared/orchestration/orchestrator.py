"""`ModelOrchestrator`, the documented way to ask any model by its type."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Self

import httpx

from ..config import (
    FoundryAgentServiceConfig,
    IdentitySettings,
    MLConfig,
    ModelSettings,
    Preferences,
    StorageSettings,
)
from ..foundry.asking import checked_text, turn_request
from ..foundry.errors import ConfigurationError, FoundryError
from ..foundry.loop_end import ClosedWithLoop
from ..foundry.service import FoundryService
from .backends import Backend, Model
from .conversations import Conversations, MemoryConversations, ModelRequest
from .engine import Orchestration, Progress
from .foundry_backend import FoundryBackend
from .model_types import ModelType
from .providers import ChatServers
from .results import NOBODY, Attempt
from .routing import Router

log = logging.getLogger(__name__)


class ModelOrchestrator:
    """Asks Foundry, vLLM, Azure ML, Azure OpenAI or OpenAI, in conversations that move freely.

    Use it on one event loop, and close it, or let ``async with`` do both::

        async with ModelOrchestrator() as orchestrator:
            result = await orchestrator.process_model_request(
                ModelType.FOUNDRY_AGENT_SERVICE, "general", "Hello", "conv-001"
            )
    """

    def __init__(
        self,
        config: MLConfig | None = None,
        *,
        models: ModelSettings | None = None,
        identity: IdentitySettings | None = None,
        conversations: Conversations | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the settings in; what is left out comes from the environment.

        Args:
            config: How to reach Foundry.
            models: How to reach the other models, and which is preferred.
            identity: Which Entra identity to sign in with.
            conversations: Where conversations are kept; by default in the table of the storage
                account that the environment names, or in this process where it names none.
            http: What carries requests, in place of the real thing.

        Raises:
            SettingsError, ConfigurationError: naming a setting that cannot work.
        """
        foundry = config.foundry() if config else FoundryAgentServiceConfig.from_env()
        offers_foundry = config is None or config.enable_foundry_agent_service
        self._seconds = foundry.timeout
        service = FoundryService(foundry, identity, http=http) if offers_foundry else None
        servers = ChatServers(
            models or ModelSettings.from_env(),
            foundry,
            identity or IdentitySettings.from_env(),
            http,
        )
        self._storage = ClosedWithLoop()
        if conversations is None:
            conversations, self._storage = _conversations(servers.identity)
        self._orchestration = Orchestration(router(service, servers), conversations)

    async def initialize(self) -> None:
        """Check the settings; no request is sent.

        Raises:
            ConfigurationError: (a ValueError) naming the setting to mend.
        """
        self._orchestration.connect()

    async def process_model_request(
        self,
        model_type: ModelType | str,
        domain: str,
        user_input: str,
        conversation_id: str,
        **options: Any,
    ) -> dict[str, Any]:
        """Have a message answered by a model, or by the next preferred one where that fails.

        Args:
            model_type: The model to ask first.
            domain: Field the message is about; decides who answers where that model fails.
            user_input: What the user says.
            conversation_id: The caller's own name of the conversation; it remembers.
            options: Those of `FoundryAgentServiceClient.send_message`; `tools`, `images`, `files`
                and `response_format` are for Foundry only.

        Returns:
            `turn_id`, `thread_id`, `conversationId`, `domain`, `reply`, `success`, `error`,
            `source` (the model that answered), `model_type` (the one that was asked for),
            `fallback_from`, `attempts`, `model`, `agent_id`, `tools_used`, `parsed`, `usage`,
            `finish_reason`, `execution_time` (seconds) and `timestamp`. Where no model gave an
            answer, ``success`` is False, ``error`` says what to do, and there is an
            ``error_code``.

        Raises:
            TypeError: for an unknown option, or a value of another type.
            InvalidRequestError: for a value that cannot be used.
            ValueError: for an unknown model type.
            RuntimeError: on another event loop than before, or in a fork of the process.
            StateError: if the conversation is stored and cannot be read or written, or another
                turn runs in it (`LaneBusyError`); in memory, turns wait for each other.
        """
        request = self._request(model_type, domain, user_input, conversation_id, options)
        started, attempts = perf_counter(), list[Attempt]()
        await self._storage.begin()
        try:
            answer = await self._orchestration.run(request, attempts)
        except FoundryError as error:
            return _failure(error, request, attempts, perf_counter() - started)
        return answer.to_json()

    async def stream_model_request(
        self,
        model_type: ModelType | str,
        domain: str,
        user_input: str,
        conversation_id: str,
        **options: Any,
    ) -> AsyncGenerator[Progress]:
        """As `process_model_request`, but yield what happens; `Orchestrated` comes last.

        Raises:
            FoundryError: if no model gave an answer, or the one that began broke off.
        """
        request = self._request(
            model_type, domain, user_input, conversation_id, options, streamed=True
        )
        await self._storage.begin()
        async with aclosing(self._orchestration.events(request)) as events:
            async for event in events:
                yield event

    async def select_optimal_model(self, domain: str) -> ModelType:
        """The preferred model for a domain that is healthy as far as is known; costs no tokens.

        Raises:
            ConfigurationError: if no model is configured.
        """
        return await self._orchestration.select(domain)

    def breaker_states(self) -> dict[str, str]:
        """The circuit of each configured model: `closed`, `open` or `half_open`."""
        return self._orchestration.breaker_states()

    def get_metrics(self) -> dict[str, dict[str, Any]]:
        """Figures and circuit of each configured model."""
        return self._orchestration.snapshot()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._orchestration.aclose()
        await self._storage.aclose()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _request(
        self,
        model_type: ModelType | str,
        domain: str,
        user_input: str,
        conversation_id: str,
        options: dict[str, Any],
        *,
        streamed: bool = False,
    ) -> ModelRequest:
        return ModelRequest(
            turn=turn_request(user_input, domain, options),
            conversation_id=checked_text("conversation_id", conversation_id),
            seconds=self._seconds,
            model_type=ModelType(model_type),
            streamed=streamed,
        )


def _conversations(identity: IdentitySettings) -> tuple[Conversations, ClosedWithLoop]:
    """Conversations where the environment has a place for them, and what closes them."""
    storage = StorageSettings.from_env()
    if not (storage.connection_string or storage.table_service_uri):
        return MemoryConversations(), ClosedWithLoop()
    from .stored import stored_conversations

    return stored_conversations(storage, identity)


def router(service: FoundryService | None, servers: ChatServers) -> Router:
    """The router of all models that settings configure.

    Raises:
        SettingsError, ConfigurationError: naming a setting that cannot work.
    """
    backends: list[Backend] = []
    if service is not None and service.config.endpoint_url:
        backends.append(FoundryBackend(service))
    backends += servers.backends()
    return Router(
        [Model.of(backend) for backend in backends],
        Preferences.parse(servers.models.preferences),
        patience=servers.foundry.timeout,
    )


def _failure(
    error: FoundryError, request: ModelRequest, attempts: list[Attempt], seconds: float
) -> dict[str, Any]:
    if isinstance(error, ConfigurationError):
        log.error("The request cannot be answered as configured: %s", error.message)
    return {
        "turn_id": None,
        "thread_id": None,
        "conversationId": request.conversation_id,
        "domain": request.turn.domain,
        "reply": "",
        "success": False,
        "error": error.message,
        "error_code": error.code,
        "source": NOBODY,
        "model_type": request.model_type.value if request.model_type else None,
        "fallback_from": None,
        "attempts": [attempt.to_json() for attempt in attempts],
        "model": None,
        "agent_id": None,
        "tools_used": [],
        "parsed": None,
        "usage": {},
        "finish_reason": None,
        "execution_time": round(seconds, 6),
        "timestamp": datetime.now(UTC).isoformat(),
    }
