"""Who answers a turn: Foundry, or another `Answerer` that is given the running turn.

Foundry keeps threads itself. Messages that another model answered meanwhile are sent ahead of the
next one, so that Foundry's thread holds the whole conversation, each message once. Where a turn
was lost on the way and another model answered it, Foundry may hold a message that cannot be
distinguished from ours: then its thread is created again from the stored history, if that is
complete.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from ..foundry.errors import NotFoundError
from ..foundry.models import ThreadRef, TurnResult
from ..foundry.service import FoundryService
from ..foundry.wire_json import JsonObject
from .command import RunningTurn
from .conversation import Conversation, ConversationState, MessagePair

log = logging.getLogger(__name__)

PRECEDING_TOKENS = 96_000
"""Of messages that Foundry has not seen: three quarters of the context of Llama 3.3."""


class Answerer(Protocol):
    """Answers turns."""

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Have a turn answered; the state of its conversation is moved on.

        Raises:
            FoundryError: if there is no answer.
        """
        ...


class FoundryAnswerer:
    """Has turns answered by the Foundry agent or model in use."""

    def __init__(self, service: FoundryService) -> None:
        self.service = service

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Send a turn to Foundry, on the thread of its conversation where it has one.

        Raises:
            FoundryError: if there is no answer.
        """
        conversation = turn.conversation
        if conversation is None or not self.service.config.enable_stateful_threads:
            return await self._send(turn, None, since=0)
        await self._prepare_thread(conversation, turn)
        thread, state = await conversation.thread_to_send_on(), conversation.state
        assert state.thread is not None  # noqa: S101 - it has just been prepared
        known = state.thread
        # Until an answer comes, Foundry may hold items that we have not seen.
        conversation.state = replace(state, thread=replace(known, look_first=True))
        result = await self._send(turn, thread, since=state.in_foundry)
        conversation.state = _after(state, known, result)
        return result

    async def _send(self, turn: RunningTurn, thread: ThreadRef | None, *, since: int) -> TurnResult:
        """Send the message, behind the messages from number ``since`` on that others answered."""
        request, conversation = turn.request, turn.conversation
        if conversation is not None and since < conversation.state.messages:
            missed = await conversation.history(since, PRECEDING_TOKENS)
            request = replace(request, preceding=tuple(_items(missed)))
        return await self.service.respond(
            request,
            thread,
            seconds=turn.deadline.remaining(),
            emit=turn.emit,
            before_send=turn.ensure_held,
        )

    async def _prepare_thread(self, conversation: Conversation, turn: RunningTurn) -> None:
        """Create the conversation's thread in Foundry where there is none that can be used."""
        state = conversation.state
        usable = await self._usable_thread(conversation, turn)
        if usable is None:
            made = await self.service.create_thread(dict(conversation.metadata))
            conversation.state = replace(state, thread=made, in_foundry=0)
            if made.conversation_id:  # a chain of responses has no name before its first one
                await conversation.save(conversation.state)
        elif usable != state.thread:
            conversation.state = replace(state, thread=usable)

    async def _usable_thread(
        self, conversation: Conversation, turn: RunningTurn
    ) -> ThreadRef | None:
        """The thread, if the next message can follow on what it holds.

        Where the stored history is not complete, only the thread has the rest and is kept.

        Raises:
            NotFoundError: if Foundry has neither the thread nor we its history.
        """
        state = conversation.state
        thread = state.thread
        others_answered = state.in_foundry < state.messages
        if thread is None or not (thread.look_first and others_answered):
            return thread
        if thread.conversation_id is None:
            return replace(thread, look_first=False)
        try:
            newest = await self.service.last_item_id(thread.conversation_id)
        except NotFoundError:
            if not await _is_stored(conversation):
                raise
            return None
        if newest == (thread.last_item_id or None):
            return replace(thread, look_first=False)
        if not await _is_stored(conversation):
            log.info("Foundry holds a message that another model answered; its thread is kept")
            return replace(thread, last_item_id=newest, look_first=False)
        log.info("Foundry holds a message that another model answered; its thread is created again")
        await turn.ensure_held()
        await self.service.delete_thread(thread)
        return None


async def _is_stored(conversation: Conversation) -> bool:
    """Whether a new thread could be given all that was said."""
    return len(await conversation.history(0, PRECEDING_TOKENS)) == conversation.state.messages


def _after(state: ConversationState, thread: ThreadRef, result: TurnResult) -> ConversationState:
    """The state after Foundry's answer.

    An answer that was found further back names no last item: what follows it is still unknown.
    """
    is_newest = result.last_item_id is not None
    moved_on = replace(
        thread,
        last_response_id=result.response_id,
        last_item_id=result.last_item_id if is_newest else thread.last_item_id,
        look_first=thread.look_first and not is_newest,
    )
    return replace(state, thread=moved_on, in_foundry=state.messages + 1)


def _items(pairs: Iterable[MessagePair]) -> list[JsonObject]:
    """Message pairs as input items."""
    return [{"type": "message", **message} for pair in pairs for message in pair.messages()]
