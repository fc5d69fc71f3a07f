"""Answerers: Foundry, or any other class with the protocol `Answerer`.

Foundry stores its threads itself. Messages that another model answered are sent before the next
one, so that Foundry's thread has the whole conversation, each message once. If Foundry's answer was
lost and another model answered the message, Foundry may have stored the message too: then a new
thread is created from the stored history, if that is complete.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from ..foundry.errors import NotFoundError
from ..foundry.models import ThreadRef, TurnResult
from ..foundry.service import FoundryService
from .command import RunningTurn
from .conversation import Conversation, ConversationState, MessagePair, items_of
from .open_calls import with_history

log = logging.getLogger(__name__)

PRECEDING_TOKENS = 96_000
"""The most tokens of messages that Foundry does not have: 3/4 of the context of Llama 3.3."""


class Answerer(Protocol):
    """Answers turns."""

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Answer a turn, and update the state of its conversation.

        Raises:
            FoundryError: if there is no answer.
        """
        ...


class FoundryAnswerer:
    """Answers turns with the configured Foundry agent or model."""

    def __init__(self, service: FoundryService) -> None:
        self.service = service

    async def answer(self, turn: RunningTurn) -> TurnResult:
        """Send a turn to Foundry, on the thread of its conversation if it has one.

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
        # Until the answer arrives, Foundry may have items that are not recorded here.
        conversation.state = replace(state, thread=replace(known, look_first=True))
        result = await self._send(turn, thread, since=state.in_foundry)
        conversation.state = _after(state, known, result)
        return result

    async def _send(self, turn: RunningTurn, thread: ThreadRef | None, *, since: int) -> TurnResult:
        """Send the message, after those from number ``since`` on that other models answered."""
        conversation, missed = turn.conversation, tuple[MessagePair, ...]()
        if conversation is not None and since < conversation.state.messages:
            missed = await conversation.history(since, PRECEDING_TOKENS)
        request = with_history(turn.request, items_of(missed), thread.owed if thread else ())
        return await self.service.respond(
            request,
            thread,
            seconds=turn.deadline.remaining(),
            emit=turn.emit,
            before_send=turn.ensure_held,
        )

    async def _prepare_thread(self, conversation: Conversation, turn: RunningTurn) -> None:
        """Create the conversation's thread in Foundry if there is none that can be used."""
        state = conversation.state
        usable = await self._usable_thread(conversation, turn)
        if usable is None:
            made = await self.service.create_thread(dict(conversation.metadata))
            conversation.state = replace(state, thread=made, in_foundry=0)
            if made.conversation_id:  # a chain of responses has no id before its first response
                await conversation.save(conversation.state)
        elif usable != state.thread:
            conversation.state = replace(state, thread=usable)

    async def _usable_thread(
        self, conversation: Conversation, turn: RunningTurn
    ) -> ThreadRef | None:
        """The thread in Foundry, or None if the next message cannot continue it.

        If the stored history is not complete, the thread is kept, because only it has the rest.

        Raises:
            NotFoundError: if Foundry has no such thread, and the stored history is not complete.
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
            return replace(thread, last_item_id=newest, look_first=False, owed=(), calls_open=True)
        log.info("Foundry holds a message that another model answered; its thread is created again")
        await turn.ensure_held()
        await self.service.delete_thread(thread)
        return None


async def _is_stored(conversation: Conversation) -> bool:
    """Whether the whole conversation is stored, and fits into what a new thread may be given."""
    return len(await conversation.history(0, PRECEDING_TOKENS)) == conversation.state.messages


def _after(state: ConversationState, thread: ThreadRef, result: TurnResult) -> ConversationState:
    """The state after Foundry's answer.

    An answer that was found among older items has no last item, because newer items are unknown.
    """
    is_newest = result.last_item_id is not None
    moved_on = replace(
        thread,
        last_response_id=result.response_id,
        last_item_id=result.last_item_id if is_newest else thread.last_item_id,
        look_first=thread.look_first and not is_newest,
        owed=result.owed,
    )
    return replace(state, thread=moved_on, in_foundry=state.messages + 1)
