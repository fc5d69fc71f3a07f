"""`ModelOrchestrator`, the public class that sends messages to models by type."""

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
from ..turns.background import StillRunning
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
"""The owner of all threads and turns when the library is used without the app."""


class RunsTurns(Protocol):
    """Runs orchestrated turns, in memory or in storage."""

    async def run(self, command: TurnCommand) -> AnsweredTurn:
        """Run one turn."""
        ...

    def stream(self, command: TurnCommand) -> AsyncGenerator[Progress]:
        """Run one turn, and yield its events."""
        ...

    async def aclose(self) -> None:
        """Wait for running turns."""
        ...


class ModelOrchestrator:
    """Sends messages to Foundry, vLLM, Azure ML, Azure OpenAI or OpenAI.

    A conversation may continue with another model. Use it on one event loop, and close it, or use
    ``async with``::

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
        """Create it; settings that are not given are read from the environment.

        Args:
            config: Settings of Foundry.
            models: Settings of the other models, and the order of preference.
            identity: The Entra identity to sign in with.
            in_memory: Store conversations in memory even if the environment configures a storage
                account; by default they are stored in its table.
            http: The HTTP transport, for tests.

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
        """Send a message to a model, or to the next preferred one if that fails.

        Args:
            model_type: The model to ask first.
            domain: Field the message is about; selects the models that may answer if the first one
                fails.
            user_input: The user's message.
            conversation_id: The caller's name for the conversation, whose history is kept.
            options: Those of `FoundryAgentServiceClient.send_message`; `tools`, `images`, `files`
                and `response_format` are for Foundry only.

        Returns:
            `turn_id`, `thread_id`, `conversationId`, `domain`, `reply`, `success`, `error`,
            `source` (the model that answered), `model_type` (the one that was requested),
            `fallback_from`, `attempts`, `model`, `agent_id`, `tools_used`, `parsed`, `usage`,
            `finish_reason`, `execution_time` (seconds) and `timestamp`. If no model answered,
            ``success`` is False, ``error`` says what to do, and there is an ``error_code``.

        Raises:
            TypeError: for an unknown option, or a value of the wrong type.
            InvalidRequestError: for an invalid value.
            ValueError: for an unknown model type.
            RuntimeError: on a second event loop, or in a forked process.
            StateError: if a stored conversation cannot be read or written, or another turn runs in
                it (`LaneBusyError`); in memory, turns wait for each other.
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
        """Send a message as `process_model_request` does, and yield the turn's events.

        A `TurnOpened` comes first, and the `AnsweredTurn` last.

        Raises:
            FoundryError: if no model answered, or the answer was interrupted.
        """
        command = self._command(
            model_type, domain, user_input, conversation_id, options, mode=TurnMode.STREAM
        )
        await self._storage.begin()
        async with aclosing(self._turns.stream(command)) as events:
            async for event in events:
                if not isinstance(event, StillRunning):
                    yield event

    async def select_optimal_model(self, domain: str) -> ModelType:
        """The first healthy model in the domain's order of preference; costs no tokens.

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
    """Turns in storage if the environment configures an account, and the resources to close."""
    storage = StorageSettings.from_env()
    if in_memory or not (storage.connection_string or storage.table_service_uri):
        return MemoryTurns(answerer), ClosedWithLoop()
    from .stored import stored_turns

    return stored_turns(answerer, storage, identity)


def router(service: FoundryService | None, servers: ChatServers) -> Router:
    """Create the router of all configured models.

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
