"""Runs turns with conversations in memory, for programs without storage."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

from ..foundry.events import events_of
from ..foundry.retry import Deadline
from ..state.keys import Kind, new_id
from ..turns.answerer import Answerer
from ..turns.command import (
    AnsweredTurn,
    EmitProgress,
    Progress,
    RunningTurn,
    TurnCommand,
    TurnOpened,
)
from ..turns.conversation import Conversation, ConversationState, HistoryWindow, MessagePair

REMEMBERED_CONVERSATIONS = 1_000
"""The most conversations in memory; the least recently used is dropped first."""

REMEMBERED_TOKENS = 128_000
"""The most tokens of a conversation in memory, enough for the largest common context."""


@dataclass(slots=True)
class _Remembered:
    state: ConversationState
    pairs: deque[MessagePair] = field(default_factory=deque[MessagePair])
    tokens: int = 0
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, pair: MessagePair) -> None:
        """Add a pair, and drop the oldest ones beyond `REMEMBERED_TOKENS`."""
        self.pairs.append(pair)
        self.tokens += pair.tokens
        while self.tokens > REMEMBERED_TOKENS and len(self.pairs) > 1:
            self.tokens -= self.pairs.popleft().tokens


class MemoryConversation(Conversation):
    """A conversation in memory."""

    def __init__(self, remembered: _Remembered) -> None:
        super().__init__(remembered.state)
        self._remembered = remembered

    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The newest pairs from number ``since`` on that fit into ``tokens``, oldest first."""
        window = HistoryWindow(tokens)
        window.take(list(reversed(self._remembered.pairs))[: self.state.messages - since])
        return window.pairs()

    async def save(self, state: ConversationState) -> None:
        """Store a new state."""
        self.state = self._remembered.state = state


class MemoryTurns:
    """Runs turns without storage; turns of one conversation wait for each other."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._remembered: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()

    async def run(self, command: TurnCommand, emit: EmitProgress | None = None) -> AnsweredTurn:
        """Run one turn.

        Raises:
            FoundryError: if no model gave an answer.
        """
        started = perf_counter()
        remembered = self._conversation(command.owner, command.conversation_id or "")
        async with remembered.turns:
            conversation = MemoryConversation(remembered)
            opened = TurnOpened(
                new_id(Kind.TURN),
                conversation.state.thread_id,
                conversation_id=command.conversation_id,
            )
            if emit:
                emit(opened)
            turn = RunningTurn(
                turn_id=opened.turn_id,
                request=command.request,
                deadline=Deadline(command.seconds),
                model_type=command.model_type,
                conversation=conversation,
                emit=emit,
                attempts=command.attempts,
            )
            try:
                result = await self._answerer.answer(turn)
            finally:
                remembered.state = conversation.state
            remembered.state = replace(conversation.state, messages=conversation.state.messages + 1)
            remembered.add(MessagePair.of(command.request, result))
        seconds, now = perf_counter() - started, datetime.now(UTC)
        return AnsweredTurn(opened, result, tuple(turn.attempts), seconds, now)

    def stream(self, command: TurnCommand) -> AsyncGenerator[Progress]:
        """Run one turn as `run` does, and yield its events; the `AnsweredTurn` comes last."""
        return events_of(partial(self.run, command))

    def _conversation(self, owner: str, conversation_id: str) -> _Remembered:
        key = (owner, conversation_id)
        if key not in self._remembered:
            self._remembered[key] = _Remembered(ConversationState(new_id(Kind.THREAD)))
        self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_CONVERSATIONS:
            self._remembered.popitem(last=False)
        return self._remembered[key]

    async def aclose(self) -> None:
        """Nothing to close: each turn runs in its caller's task."""
