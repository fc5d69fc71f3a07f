"""A turn of a conversation: open it, have the message answered, keep what was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
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
        self,
        request: ModelRequest,
        attempts: list[Attempt] | None = None,
        tell: Callable[[Progress], None] | None = None,
    ) -> Orchestrated:
        """Run one turn.

        Args:
            request: What to run.
            attempts: Filled in on the way, for who wants to see a failure's.
            tell: Called with what happens while it happens.

        Raises:
            FoundryError: if no model gave an answer.
            LaneBusyError: if another turn runs in the conversation.
        """
        async with aclosing(self.events(request, attempts)) as events:
            async for event in events:
                if isinstance(event, Orchestrated):
                    return event
                if tell:
                    tell(event)
        raise AssertionError("unreachable: a turn completes or raises")

    async def events(
        self, request: ModelRequest, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Progress]:
        """As `run`, but tell what happens while it happens.

        `Opened` comes first and `Orchestrated` last, once the turn is kept.
        """
        started, answer = perf_counter(), None
        async with self._conversations.open(request) as conversation:
            standing = conversation.standing
            opened = Opened(conversation.turn_id, standing.thread_id, request.conversation_id)
            yield opened
            asked = self._router.events(request, conversation, [] if attempts is None else attempts)
            try:
                async with aclosing(asked) as events:
                    async for event in events:
                        if isinstance(event, Routed):
                            seconds, now = perf_counter() - started, datetime.now(UTC)
                            domain = request.turn.domain
                            answer = Orchestrated(event, opened, domain, seconds, now)
                            conversation.outcome = answer
                        else:
                            yield event
            except FoundryError as error:
                conversation.outcome = error
                raise
        assert answer is not None  # noqa: S101 - a turn completes or raises
        yield answer

    def breaker_states(self) -> dict[str, str]:
        """The circuit of each configured model: `closed`, `open` or `half_open`."""
        return self._router.breaker_states()

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """The figures of each model and the state of its breaker."""
        return self._router.snapshot()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._router.aclose()
