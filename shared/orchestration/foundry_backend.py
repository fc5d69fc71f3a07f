"""Foundry as one of the models: it keeps the thread itself.

What other models answered meanwhile is sent ahead of the next message, so that Foundry's thread
holds the whole conversation, each message once. Where a turn was lost on the way and another model
answered it, Foundry may hold a message that nobody can tell from ours any more: then the thread is
made anew from the exchanges.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from ..foundry.errors import FoundryError, NotFoundError
from ..foundry.events import TurnCompleted, TurnEvent, events_of
from ..foundry.metrics import ClientMetrics
from ..foundry.models import ThreadRef, TurnRequest, TurnResult
from ..foundry.retry import Deadline
from ..foundry.service import FoundryService
from ..foundry.wire_json import JsonObject
from .conversations import Conversation
from .history import MessagePair
from .model_types import ModelType

log = logging.getLogger(__name__)

PRECEDING_TOKENS = 96_000
"""Of exchanges that Foundry has not seen: three quarters of the context of Llama 3.3."""


class FoundryBackend:
    """Answers through the Foundry client."""

    def __init__(self, service: FoundryService) -> None:
        self._service = service

    @property
    def model_type(self) -> ModelType:
        """Foundry's."""
        return ModelType.FOUNDRY_AGENT_SERVICE

    @property
    def metrics(self) -> ClientMetrics:
        """Those of the client, whoever uses it."""
        return self._service.metrics

    def connect(self) -> None:
        """Check the settings."""
        self._service.connect()

    def refusal(self, turn: TurnRequest) -> FoundryError | None:
        """None: what Foundry cannot do, it says itself."""
        return None

    async def events(
        self, turn: TurnRequest, conversation: Conversation, deadline: Deadline, *, streamed: bool
    ) -> AsyncGenerator[TurnEvent]:
        """As `Backend.events`."""
        self._service.connect()
        backing = await self._thread(conversation)
        standing = conversation.standing
        since = standing.in_foundry if backing else 0
        missed = await conversation.history(since, PRECEDING_TOKENS)
        turn = replace(turn, preceding=tuple(_items(missed)))
        if backing:  # until an answer comes, Foundry may hold what we do not know of
            conversation.standing = replace(standing, backing=replace(backing, look_first=True))
        seconds, may_send = deadline.remaining(), conversation.ensure_held
        if not streamed:
            result = await self._service.respond(
                turn, backing, seconds=seconds, before_send=may_send
            )
            yield self._completed(conversation, backing, result)
            return
        ask = partial(self._service.respond, turn, backing, seconds=seconds, before_send=may_send)
        events = events_of(lambda emit: ask(emit=emit))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TurnCompleted):
                    yield self._completed(conversation, backing, event.result)
                else:
                    yield event

    def _completed(
        self, conversation: Conversation, backing: ThreadRef | None, result: TurnResult
    ) -> TurnCompleted:
        if backing:
            conversation.standing = replace(
                conversation.standing,
                backing=replace(
                    backing,
                    last_response_id=result.response_id,
                    last_item_id=result.last_item_id or backing.last_item_id,
                    look_first=False,
                ),
                in_foundry=conversation.standing.exchanges + 1,
            )
        return TurnCompleted(result)

    async def _thread(self, conversation: Conversation) -> ThreadRef | None:
        """What to send on; None where Foundry shall keep no threads."""
        if not self._service.config.enable_stateful_threads:
            return None
        standing = conversation.standing
        backing = await self._settled(conversation)
        if backing is None:
            backing = await self._service.create_thread({})
            await conversation.note(replace(standing, backing=backing, in_foundry=0))
        return backing

    async def _settled(self, conversation: Conversation) -> ThreadRef | None:
        """The thread as it stands, if the next message can follow on it."""
        standing = conversation.standing
        backing = standing.backing
        others_answered = standing.in_foundry < standing.exchanges
        if backing is None or not (backing.look_first and others_answered):
            return backing
        if backing.conversation_id is None:
            return replace(backing, look_first=False)
        try:
            newest = await self._service.last_item_id(backing.conversation_id)
        except NotFoundError:
            return None
        if newest == (backing.last_item_id or None):
            return replace(backing, look_first=False)
        log.info("Foundry holds a message that another model answered; its thread is made anew")
        await conversation.ensure_held()
        await self._service.delete_thread(backing)
        return None

    async def check(self) -> None:
        """Ask Foundry for the agent or model in use."""
        await self._service.check()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._service.aclose()


def _items(exchanges: Iterable[MessagePair]) -> list[JsonObject]:
    """Exchanges as input items."""
    return [
        {"type": "message", **message} for exchange in exchanges for message in exchange.messages()
    ]
