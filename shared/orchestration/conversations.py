"""Conversations: what stands between the turns of a caller's `conversation_id`.

Each has a thread and, beside what Foundry keeps of it, the exchanges themselves, so that any
model can go on where another one stopped. `MemoryConversations` keeps them in this process,
`TableConversations` in Table Storage.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..audit.trail import THE_APP, Caller
from ..foundry.errors import FoundryError
from ..foundry.models import ThreadRef, TurnRequest
from ..state.idempotency import Claim
from ..state.keys import Kind, new_id
from ..state.table import Change
from .history import HistoryWindow, MessagePair
from .model_types import ModelType
from .results import Orchestrated

LOCAL_OWNER = "local"
"""Owner of everything where the library is used by itself."""

REMEMBERED_CONVERSATIONS = 1_000
"""In memory; the ones used longest ago are forgotten first."""

REMEMBERED_TOKENS = 128_000
"""Of each conversation in memory: as much as the largest common context takes."""


Outcome = Orchestrated | FoundryError
"""How a turn of a conversation ended."""

Keep = Callable[[Outcome], Sequence[Change]]
"""What keeps the answer to a request, to be written together with its turn."""


def _no_answer(_: Outcome) -> Sequence[Change]:
    return ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A message in a conversation, and how it should be answered."""

    turn: TurnRequest
    conversation_id: str
    seconds: float
    """How long the whole turn may take, all models together."""
    model_type: ModelType | None = None
    """The model to ask first; None for the one preferred for the domain."""
    streamed: bool = False
    owner: str = LOCAL_OWNER
    caller: Caller = THE_APP
    claim: Claim | None = None
    """The idempotency key of the request, held while the turn runs; it names the turn."""
    keep: Keep = _no_answer
    """Only conversations that are stored write what it gives."""

    def new_turn_id(self) -> str:
        """The id of the turn that it asks for."""
        return self.claim.id(Kind.TURN) if self.claim else new_id(Kind.TURN)


@dataclass(frozen=True, slots=True)
class ConversationState:
    """Where a conversation stands."""

    thread_id: str
    exchanges: int = 0
    """How many there were."""
    backing: ThreadRef | None = None
    """The thread in Foundry, where there is one."""
    in_foundry: int = 0
    """How many of the exchanges, the first ones, stand in Foundry's thread."""

    def moved_on(self) -> ConversationState:
        """The standing after one more exchange."""
        return replace(self, exchanges=self.exchanges + 1)


class Conversation(ABC):
    """A conversation during a turn, which nobody else can have meanwhile."""

    def __init__(self, standing: ConversationState, turn_id: str) -> None:
        self.standing = standing
        self.turn_id = turn_id
        self.outcome: Outcome | None = None
        """How the turn ended; kept when the conversation is left."""

    @abstractmethod
    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The exchanges from number ``since`` on, oldest first; older ones that do not fit into
        ``tokens`` are left out."""

    @abstractmethod
    async def note(self, standing: ConversationState) -> None:
        """Keep a new standing now, before the turn is over."""

    @abstractmethod
    async def ensure_held(self) -> None:
        """Make sure that no other turn has the conversation, before a model is asked.

        Raises:
            LeaseLostError: if one has taken it over.
        """


class Conversations(Protocol):
    """All conversations."""

    def open(self, request: ModelRequest) -> AbstractAsyncContextManager[Conversation]:
        """The conversation of a request, for the time of the block; it is kept at its end.

        Raises:
            LaneBusyError: if another turn runs in it.
        """
        ...


@dataclass(slots=True)
class _Remembered:
    standing: ConversationState
    exchanges: deque[MessagePair] = field(default_factory=deque[MessagePair])
    tokens: int = 0
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, exchange: MessagePair) -> None:
        """Remember one more exchange, and forget the oldest where there are too many."""
        self.exchanges.append(exchange)
        self.tokens += exchange.tokens
        while self.tokens > REMEMBERED_TOKENS and len(self.exchanges) > 1:
            self.tokens -= self.exchanges.popleft().tokens


class MemoryConversation(Conversation):
    """A conversation in memory."""

    def __init__(self, remembered: _Remembered, turn_id: str) -> None:
        super().__init__(remembered.standing, turn_id)
        self._remembered = remembered

    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """As the base class says."""
        missing = self.standing.exchanges - since
        window = HistoryWindow(tokens)
        window.take(list(reversed(self._remembered.exchanges))[:missing])
        return window.exchanges()

    async def note(self, standing: ConversationState) -> None:
        """As the base class says."""
        self.standing = self._remembered.standing = standing

    async def ensure_held(self) -> None:
        """As the base class says; the lock of a conversation in memory cannot be lost."""


class MemoryConversations:
    """Keeps conversations in this process; turns of one conversation wait for each other."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()

    @asynccontextmanager
    async def open(self, request: ModelRequest) -> AsyncGenerator[Conversation]:
        """As `Conversations.open`."""
        remembered = self._remember((request.owner, request.conversation_id))
        async with remembered.turns:
            conversation = MemoryConversation(remembered, request.new_turn_id())
            try:
                yield conversation
            finally:
                remembered.standing = conversation.standing
                if isinstance(conversation.outcome, Orchestrated):
                    answer = conversation.outcome.routed.result.content
                    remembered.standing = conversation.standing.moved_on()
                    remembered.add(MessagePair(request.turn.message, answer))

    def _remember(self, key: tuple[str, str]) -> _Remembered:
        if key not in self._remembered:
            self._remembered[key] = _Remembered(ConversationState(new_id(Kind.THREAD)))
        self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_CONVERSATIONS:
            self._remembered.popitem(last=False)
        return self._remembered[key]
