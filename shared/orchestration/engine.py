"""A turn of a conversation: open it, have the message answered, keep what was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from ..foundry.errors import FoundryError
from ..foundry.events import TurnEvent
from .conversations import Conversations, ModelRequest
from .model_types import ModelType
from .results import Attempt, Opened, Orchestrated, Routed
from .routing import Router

Progress = Opened | TurnEvent | Orchestrated
"""What a streamed turn tells."""


class Orchestration:
    """Runs turns on whichever model answers."""

    def __init__(self, router: Router, conversations: Conversations) -> None:
        self._router = router
        self._conversations = conversations

    def connect(self) -> None:
        """Check the settings of all models.

        Raises:
            ConfigurationError: naming the setting that cannot work.
        """
        self._router.connect()

    async def select(self, domain: str) -> ModelType:
        """The model that would be asked for a domain; costs no tokens.

        Raises:
            ConfigurationError: if none is configured.
        """
        return await self._router.select(domain)

    async def run(
        self, request: ModelRequest, attempts: list[Attempt] | None = None
    ) -> Orchestrated:
        """Run one turn; ``attempts`` is filled in on the way, for who wants to see a failure's.

        Raises:
            FoundryError: if no model gave an answer.
            LaneBusyError: if another turn runs in the conversation.
        """
        async with aclosing(self.events(request, attempts)) as events:
            async for event in events:
                if isinstance(event, Orchestrated):
                    return event
        raise AssertionError("unreachable: a turn completes or raises")

    async def events(
        self, request: ModelRequest, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Progress]:
        """As `run`, but tell what happens while it happens.

        `Opened` comes first and `Orchestrated` last, once the turn is kept.
        """
        started, routed = perf_counter(), None
        async with self._conversations.open(request) as conversation:
            thread_id = conversation.standing.thread_id
            yield Opened(request.conversation_id, thread_id)
            asked = self._router.events(request, conversation, [] if attempts is None else attempts)
            try:
                async with aclosing(asked) as events:
                    async for event in events:
                        if isinstance(event, Routed):
                            routed = conversation.outcome = event
                        else:
                            yield event
            except FoundryError as error:
                conversation.outcome = error
                raise
        assert routed is not None  # noqa: S101 - a turn completes or raises
        yield Orchestrated(
            routed=routed,
            conversation_id=request.conversation_id,
            thread_id=thread_id,
            domain=request.turn.domain,
            seconds=perf_counter() - started,
            finished_at=datetime.now(UTC),
        )

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """The state of each model, as metrics and readiness show it."""
        return self._router.snapshot()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._router.aclose()
