"""`ModelOrchestrator`, the documented way to ask any model by its type."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol, Self

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
from ..state.turns import TurnMode
from ..turns.answerer import Answerer
from ..turns.command import AnsweredTurn, Progress, TurnCommand
from ..turns.documents import orchestration_document, orchestration_failure
from .backends import Backend, Model
from .foundry_backend import FoundryBackend
from .memory import MemoryTurns
from .model_types import ModelType
from .providers import ChatServers
from .routing import Router

log = logging.getLogger(__name__)

LOCAL_OWNER = "local"
"""Owner of everything where the library is used by itself."""


class RunsTurns(Protocol):
    """Runs orchestrated turns, in memory or in storage."""

    async def run(self, command: TurnCommand) -> AnsweredTurn:
        """Run one turn."""
        ...

    def stream(self, command: TurnCommand) -> AsyncGenerator[Progress]:
        """Run one turn, and yield what happens."""
        ...

    async def aclose(self) -> None:
        """Wait for the turns that still run."""
        ...


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
        in_memory: bool = False,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the settings in; what is left out comes from the environment.

        Args:
            config: How to reach Foundry.
            models: How to reach the other models, and which is preferred.
            identity: Which Entra identity to sign in with.
            in_memory: Keep conversations in this process even where the environment names a
                storage account; otherwise they are kept in its table.
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
        self._router = router(service, servers)
        self._turns, self._storage = _turns(self._router, servers.identity, in_memory=in_memory)

    async def initialize(self) -> None:
        """Check the settings; no request is sent.

        Raises:
            ConfigurationError: (a ValueError) naming the setting to fix.
        """
        self._router.connect()

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
        command = self._command(model_type, domain, user_input, conversation_id, options)
        started = perf_counter()
        await self._storage.begin()
        try:
            turn = await self._turns.run(command)
        except FoundryError as error:
            if isinstance(error, ConfigurationError):
                log.error("The request cannot be answered as configured: %s", error.message)  # noqa: TRY400
            seconds, now = perf_counter() - started, datetime.now(UTC)
            failure = orchestration_failure(error, command, command.attempts, seconds)
            return {**failure, "timestamp": now.isoformat()}
        return orchestration_document(turn, command)

    async def stream_model_request(
        self,
        model_type: ModelType | str,
        domain: str,
        user_input: str,
        conversation_id: str,
        **options: Any,
    ) -> AsyncGenerator[Progress]:
        """Ask as `process_model_request` does, and yield what happens.

        A `TurnOpened` comes first, and the `AnsweredTurn` last.

        Raises:
            FoundryError: if no model gave an answer, or the one that began broke off.
        """
        command = self._command(
            model_type, domain, user_input, conversation_id, options, mode=TurnMode.STREAM
        )
        await self._storage.begin()
        async with aclosing(self._turns.stream(command)) as events:
            async for event in events:
                yield event

    async def select_optimal_model(self, domain: str) -> ModelType:
        """The preferred model for a domain that is healthy as far as is known; costs no tokens.

        Raises:
            ConfigurationError: if no model is configured.
        """
        return await self._router.select(domain)

    def breaker_states(self) -> dict[str, str]:
        """The circuit of each configured model: `closed`, `open` or `half_open`."""
        return self._router.breaker_states()

    def get_metrics(self) -> dict[str, dict[str, Any]]:
        """Metrics and circuit of each configured model."""
        return self._router.snapshot()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._turns.aclose()
        await self._router.aclose()
        await self._storage.aclose()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _command(
        self,
        model_type: ModelType | str,
        domain: str,
        user_input: str,
        conversation_id: str,
        options: dict[str, Any],
        *,
        mode: TurnMode = TurnMode.SYNC,
    ) -> TurnCommand:
        return TurnCommand(
            owner=LOCAL_OWNER,
            request=turn_request(user_input, domain, options),
            seconds=self._seconds,
            conversation_id=checked_text("conversation_id", conversation_id),
            orchestrated=True,
            model_type=ModelType(model_type),
            mode=mode,
        )


def _turns(
    answerer: Answerer, identity: IdentitySettings, *, in_memory: bool
) -> tuple[RunsTurns, ClosedWithLoop]:
    """Turns in storage where the environment names an account, and what closes them."""
    storage = StorageSettings.from_env()
    if in_memory or not (storage.connection_string or storage.table_service_uri):
        return MemoryTurns(answerer), ClosedWithLoop()
    from .stored import stored_turns

    return stored_turns(answerer, storage, identity)


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
