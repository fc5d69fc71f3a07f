"""`FoundryAgentServiceClient`, the documented Python client."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from ulid import ULID

from ..config import AGENT_IS_LABEL, FoundryAgentServiceConfig, IdentitySettings
from .asking import checked_count, checked_metadata, checked_text, turn_request
from .errors import FoundryError, NotFoundError
from .events import Emit, TurnCompleted, TurnEvent, events_of
from .models import FoundryResponse, MessagePage, ThreadInfo, ThreadRef, TurnRequest, TurnResult
from .remembered import RememberedThread, RememberedThreads
from .service import FoundryService
from .tools import ApprovalCallback, ToolLike, deny
from .wire_json import object_at

log = logging.getLogger(__name__)

MAX_PAGE_MESSAGES = 100
"""What the service gives at once."""


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
        tools: Iterable[Callable[..., Any]] = (),
        approve: ApprovalCallback = deny,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config or FoundryAgentServiceConfig.from_env()
        self._threads = RememberedThreads()
        self._service = FoundryService(
            self.config, identity, tools=tools, approve=approve, http=http
        )

    async def initialize(self) -> None:
        """Check the configuration; no request is sent.

        Raises:
            ConfigurationError: (a ValueError) naming the setting to correct.
        """
        self._service.connect()
        if self.config.agent_is_label:
            log.warning("%s", AGENT_IS_LABEL)
        elif not self.config.agent_id:
            log.warning("Agent ID not configured: messages go to the model %s", self.config.model)

    async def send_message(
        self,
        message: str,
        thread_id: str | None = None,
        domain: str = "general",
        system_prompt: str | None = None,
        tools: Sequence[ToolLike] | None = None,
        **overrides: Any,
    ) -> FoundryResponse:
        """Send a message and wait for the answer.

        A failure of the service is an answer with ``success=False``; ``error`` says what to do.

        Args:
            message: What the user says.
            thread_id: From `create_thread`; without it the message stands alone. Messages on one
                thread are sent one at a time, in the order of the calls.
            domain: Field the answer is about; counted in metrics, and part of the model's
                default instructions.
            system_prompt: Instructions for the model, in place of the domain's.
            tools: Tools the model may use: names, objects, and functions of yours, which it may
                call in this turn.
            overrides: `model`, `temperature`, `max_tokens`, `top_p`, `metadata`; `images` (URLs or
                bytes); `files` (from `file_part`); `response_format` (a pydantic model or a JSON
                schema; the parsed answer is in ``metadata["parsed"]``); `background`
                (for long answers: a stream that breaks is resumed where it broke).

        Raises:
            ConfigurationError: if the client cannot work as configured.
            TypeError: for an unknown override, or a value of another type.
            InvalidRequestError: for a value that cannot be used.
            RuntimeError: on another event loop than before, or in a fork of the process.
        """
        options = {"system_prompt": system_prompt, "tools": tools, **overrides}
        turn = turn_request(message, domain, options)
        _check_id(thread_id)
        self._service.connect()
        try:
            result = await self._run(turn, thread_id)
        except FoundryError as error:
            return self._failure(error, turn, thread_id)
        return _success(result, thread_id)

    async def stream_message(
        self,
        message: str,
        thread_id: str | None = None,
        domain: str = "general",
        system_prompt: str | None = None,
        tools: Sequence[ToolLike] | None = None,
        **overrides: Any,
    ) -> AsyncGenerator[TurnEvent]:
        """Send a message and yield what happens as it happens; `TurnCompleted` comes last.

        Leave early by closing the generator (``contextlib.aclosing``): the connection is closed
        at once. Arguments are those of `send_message`.

        Raises:
            FoundryError: if there is no answer; a `StreamInterruptedError` carries what arrived.
        """
        options = {"system_prompt": system_prompt, "tools": tools, **overrides}
        turn = turn_request(message, domain, options)
        _check_id(thread_id)
        self._service.connect()
        events = self._stream_on(turn, thread_id) if thread_id else self._stream(turn)
        async with aclosing(events):
            async for event in events:
                yield event

    async def send_message_or_raise(
        self,
        message: str,
        thread_id: str | None = None,
        domain: str = "general",
        system_prompt: str | None = None,
        tools: Sequence[ToolLike] | None = None,
        **overrides: Any,
    ) -> FoundryResponse:
        """As `send_message`, but a failure of the service raises its `FoundryError`."""
        options = {"system_prompt": system_prompt, "tools": tools, **overrides}
        turn = turn_request(message, domain, options)
        _check_id(thread_id)
        return _success(await self._run(turn, thread_id), thread_id)

    async def create_thread(self, metadata: Mapping[str, str] | None = None) -> str:
        """Start a thread and return its id.

        Raises:
            FoundryError: if Foundry cannot make it.
        """
        kept = checked_metadata(metadata or {})
        ref = await self._service.create_thread(kept)
        thread_id = ref.conversation_id or f"thread_{ULID()}"
        self._remember(thread_id, ref, datetime.now(UTC), kept)
        return thread_id

    async def get_thread_info(self, thread_id: str) -> ThreadInfo | None:
        """The information about a thread; None if there is no such thread."""
        try:
            return (await self._thread(thread_id)).info
        except NotFoundError:
            return None

    async def list_threads(self) -> list[ThreadInfo]:
        """The threads that this client made or used and still remembers, newest first."""
        return sorted(self._threads.infos(), key=lambda info: info.created_at, reverse=True)

    async def update_thread(self, thread_id: str, metadata: Mapping[str, str]) -> ThreadInfo:
        """Merge ``metadata`` into a thread's.

        Raises:
            NotFoundError: if there is no such thread.
        """
        added = checked_metadata(metadata)
        thread = await self._thread(thread_id)
        merged = thread.info.metadata | added
        await self._service.update_thread(thread.ref, merged)
        thread.info.metadata = merged
        return thread.info

    async def list_messages(
        self, thread_id: str, limit: int = 20, cursor: str | None = None
    ) -> MessagePage:
        """A page of a thread's history, newest message first; ``limit`` is 1 to 100.

        Raises:
            NotFoundError: if there is no such thread.
        """
        checked_count("limit", limit, MAX_PAGE_MESSAGES)
        if cursor is not None:
            checked_text("cursor", cursor)
        thread = await self._thread(thread_id)
        return await self._service.messages(thread.ref, limit=limit, cursor=cursor)

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread here and in Foundry; False if there was no such thread.

        Raises:
            ThreadBusyError: if a turn runs on it and does not end in time.
        """
        try:
            thread = await self._thread(thread_id)
            async with thread.alone(self.config.timeout):
                await self._service.delete_thread(thread.ref)
                self._threads.forget(thread)
        except NotFoundError:
            return False
        return True

    async def health_check(self) -> bool:
        """Whether Foundry answers and knows the agent or model; costs no tokens."""
        return await self._service.healthy()

    def get_metrics(self) -> dict[str, int | float]:
        """Metrics since the client was created; latency in seconds."""
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
        async with thread.turn(turn, self.config.timeout) as sending:
            sending.result = await self._service.respond(
                sending.request, sending.thread, seconds=sending.deadline.remaining()
            )
            return sending.result

    def _stream(self, turn: TurnRequest, ref: ThreadRef | None = None) -> AsyncGenerator[TurnEvent]:
        async def run(emit: Emit) -> TurnCompleted:
            return TurnCompleted(await self._service.respond(turn, ref, emit=emit))

        return events_of(run)

    async def _stream_on(self, turn: TurnRequest, thread_id: str) -> AsyncGenerator[TurnEvent]:
        thread = await self._thread(thread_id)
        async with (
            thread.turn(turn, self.config.timeout) as sending,
            aclosing(self._stream(sending.request, sending.thread)) as events,
        ):
            async for event in events:
                if isinstance(event, TurnCompleted):
                    sending.result = event.result
                yield event

    async def _thread(self, thread_id: str) -> RememberedThread:
        """A thread, created by this client or by another one."""
        if thread := self._threads.get(checked_text("thread_id", thread_id)):
            return thread
        found, ref = await self._service.open_thread(thread_id)
        created_at = datetime.fromtimestamp(found.get("created_at") or 0, UTC)
        metadata = object_at(found, "metadata") if ref.conversation_id else {}
        return self._remember(thread_id, ref, created_at, metadata)

    def _remember(
        self, thread_id: str, ref: ThreadRef, created_at: datetime, metadata: dict[str, str]
    ) -> RememberedThread:
        agent_id = self.config.agent_id or None
        info = ThreadInfo(thread_id, agent_id, created_at, created_at, metadata=metadata)
        return self._threads.add(RememberedThread(info, ref))

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


def _check_id(thread_id: str | None) -> None:
    if thread_id is not None:
        checked_text("thread_id", thread_id)


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
            "refusal": result.refusal,
            "parsed": result.parsed,
        },
    )
