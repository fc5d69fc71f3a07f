"""`FoundryAgentServiceClient`, the documented Python client."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from ulid import ULID

from ..config import FoundryAgentServiceConfig, IdentitySettings
from .errors import FoundryError, NotFoundError
from .models import Backing, FoundryResponse, MessagePage, ThreadInfo, TurnRequest, TurnResult
from .service import FoundryService
from .wire_json import object_at

log = logging.getLogger(__name__)

_OVERRIDES = ("model", "temperature", "max_tokens", "top_p", "metadata")


@dataclass(slots=True)
class _Thread:
    info: ThreadInfo
    backing: Backing


class FoundryAgentServiceClient:
    """Sends messages to a Foundry agent or model, on threads where context matters.

    Use it on one event loop, and close it, or let ``async with`` do both::

        async with FoundryAgentServiceClient(config) as client:
            response = await client.send_message("Hello")
    """

    def __init__(
        self,
        config: FoundryAgentServiceConfig | None = None,
        *,
        identity: IdentitySettings | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config or FoundryAgentServiceConfig.from_env()
        self._threads: dict[str, _Thread] = {}
        self._service = FoundryService(self.config, identity, http=http)

    async def initialize(self) -> None:
        """Check the configuration; no request is sent.

        Raises:
            ConfigurationError: (a ValueError) naming the setting to mend.
        """
        if not self.config.agent_id:
            log.warning("Agent ID not configured: messages go to the model %s", self.config.model)
        self._service.connect()

    async def send_message(
        self,
        message: str,
        thread_id: str | None = None,
        domain: str = "general",
        system_prompt: str | None = None,
        tools: Sequence[str] | None = None,
        **overrides: Any,
    ) -> FoundryResponse:
        """Send a message and wait for the answer.

        A failure of the service is an answer with ``success=False``; ``error`` says what to do.

        Args:
            message: What the user says.
            thread_id: From `create_thread`; without it the message stands alone.
            domain: Field the answer is about; counted in metrics, told to the model.
            system_prompt: Instructions for the model, in place of the domain's.
            tools: Names of tools the model may use.
            overrides: `model`, `temperature`, `max_tokens`, `top_p`, `metadata`.

        Raises:
            ConfigurationError: if the client cannot work as configured.
            TypeError: for an unknown override.
        """
        turn = _turn(message, domain, system_prompt, tools, overrides)
        self._service.connect()
        try:
            result = await self._run(turn, thread_id)
        except FoundryError as error:
            return self._failure(error, turn, thread_id)
        return _success(result, thread_id)

    async def send_message_or_raise(
        self,
        message: str,
        thread_id: str | None = None,
        domain: str = "general",
        system_prompt: str | None = None,
        tools: Sequence[str] | None = None,
        **overrides: Any,
    ) -> FoundryResponse:
        """As `send_message`, but a failure of the service raises its `FoundryError`."""
        turn = _turn(message, domain, system_prompt, tools, overrides)
        return _success(await self._run(turn, thread_id), thread_id)

    async def create_thread(self, metadata: Mapping[str, str] | None = None) -> str:
        """Start a thread and return its id.

        Raises:
            FoundryError: if Foundry cannot make it.
        """
        kept = dict(metadata or {})
        backing = await self._service.create_thread(kept)
        thread_id = backing.conversation_id or f"thread_{ULID()}"
        self._remember(thread_id, backing, datetime.now(UTC), kept)
        return thread_id

    async def get_thread_info(self, thread_id: str) -> ThreadInfo | None:
        """What is known of a thread; None if there is no such thread."""
        try:
            return (await self._thread(thread_id)).info
        except NotFoundError:
            return None

    async def list_threads(self) -> list[ThreadInfo]:
        """The threads that this client made or used, newest first."""
        infos = [thread.info for thread in self._threads.values()]
        return sorted(infos, key=lambda info: info.created_at, reverse=True)

    async def update_thread(self, thread_id: str, metadata: Mapping[str, str]) -> ThreadInfo:
        """Merge ``metadata`` into a thread's.

        Raises:
            NotFoundError: if there is no such thread.
        """
        thread = await self._thread(thread_id)
        merged = thread.info.metadata | dict(metadata)
        await self._service.update_thread(thread.backing, merged)
        thread.info.metadata = merged
        return thread.info

    async def list_messages(
        self, thread_id: str, limit: int = 20, cursor: str | None = None
    ) -> MessagePage:
        """A page of a thread's history, newest message first; ``limit`` is 1 to 100.

        Raises:
            NotFoundError: if there is no such thread.
        """
        thread = await self._thread(thread_id)
        return await self._service.messages(thread.backing, limit=limit, cursor=cursor)

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread here and in Foundry; False if there was no such thread."""
        try:
            thread = await self._thread(thread_id)
        except NotFoundError:
            return False
        await self._service.delete_thread(thread.backing)
        self._threads.pop(thread_id, None)
        return True

    async def health_check(self) -> bool:
        """Whether Foundry answers and knows the agent or model; costs no tokens."""
        return await self._service.healthy()

    def get_metrics(self) -> dict[str, int | float]:
        """Figures since the client was made; latency in seconds."""
        return self._service.metrics.snapshot()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._service.aclose()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, turn: TurnRequest, thread_id: str | None) -> TurnResult:
        if thread_id is None:
            return await self._service.respond(turn)
        thread = await self._thread(thread_id)
        result = await self._service.respond(turn, thread.backing)
        thread.backing = replace(thread.backing, last_response_id=result.response_id)
        thread.info.message_count += 1
        thread.info.last_accessed = datetime.now(UTC)
        return result

    async def _thread(self, thread_id: str) -> _Thread:
        """A thread, whether this client made it or another one did."""
        if thread_id not in self._threads:
            conversation = await self._service.conversation(thread_id)
            created_at = datetime.fromtimestamp(conversation["created_at"], UTC)
            metadata = object_at(conversation, "metadata")
            self._remember(thread_id, Backing(thread_id), created_at, metadata)
        return self._threads[thread_id]

    def _remember(
        self, thread_id: str, backing: Backing, created_at: datetime, metadata: dict[str, str]
    ) -> None:
        agent_id = self.config.agent_id or None
        info = ThreadInfo(thread_id, agent_id, created_at, created_at, metadata=metadata)
        self._threads[thread_id] = _Thread(info, backing)

    def _failure(
        self, error: FoundryError, turn: TurnRequest, thread_id: str | None
    ) -> FoundryResponse:
        return FoundryResponse(
            content="",
            thread_id=thread_id,
            agent_id=self.config.agent_id or None,
            model=turn.model or self.config.model,
            metadata={"request_id": error.request_id},
            success=False,
            error=error.message,
            error_code=error.code,
        )


def _turn(
    message: str,
    domain: str,
    system_prompt: str | None,
    tools: Sequence[str] | None,
    overrides: dict[str, Any],
) -> TurnRequest:
    if unknown := overrides.keys() - set(_OVERRIDES):
        raise TypeError(
            f"unknown option {', '.join(sorted(unknown))}; known are {', '.join(_OVERRIDES)}"
        )
    return TurnRequest(message, domain, system_prompt, tuple(tools or ()), **overrides)


def _success(result: TurnResult, thread_id: str | None) -> FoundryResponse:
    return FoundryResponse(
        content=result.content,
        thread_id=thread_id,
        agent_id=result.agent_id,
        model=result.model,
        tools_used=list(result.tools_used),
        usage=result.usage,
        metadata={
            "response_id": result.response_id,
            "request_id": result.request_id,
            "finish_reason": result.finish_reason,
        },
    )
