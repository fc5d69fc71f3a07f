"""A conversation during a turn: its thread in Foundry, and the earlier messages.

All models read the history from here, so a conversation can continue with another model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..foundry.models import ThreadRef

BYTES_PER_TOKEN = 3
"""English has at least four and Chinese about three, so this estimates too many tokens."""

TOKENS_PER_MESSAGE = 8
"""The most tokens that a chat template adds to a message."""


@dataclass(frozen=True, slots=True)
class MessagePair:
    """A user's message and its answer."""

    question: str
    answer: str

    @property
    def tokens(self) -> int:
        """The estimated number of tokens of both."""
        return estimated_tokens(self.question) + estimated_tokens(self.answer)

    def messages(self) -> list[dict[str, Any]]:
        """Both as chat messages."""
        return [
            {"role": "user", "content": self.question},
            {"role": "assistant", "content": self.answer},
        ]


def estimated_tokens(text: str) -> int:
    """Estimate the number of tokens of a message; too high rather than too low."""
    size = len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


class HistoryWindow:
    """Collects message pairs, newest first, up to a number of tokens."""

    def __init__(self, tokens: int) -> None:
        self._left = tokens
        self._kept: list[MessagePair] = []
        self.is_full = tokens <= 0

    def take(self, newest_first: Iterable[MessagePair]) -> None:
        """Add older pairs; the first that does not fit ends the window."""
        for pair in newest_first:
            self._left -= pair.tokens
            if self._left < 0:
                self.is_full = True
            if self.is_full:
                return
            self._kept.append(pair)

    def pairs(self) -> tuple[MessagePair, ...]:
        """The collected pairs, oldest first."""
        return tuple(reversed(self._kept))


@dataclass(frozen=True, slots=True)
class ConversationState:
    """How many messages a conversation has, and how many of them Foundry's thread holds."""

    thread_id: str
    messages: int = 0
    """The number of answered messages."""
    thread: ThreadRef | None = None
    """The thread in Foundry, if there is one."""
    in_foundry: int = 0
    """The number of messages, from the first on, that Foundry's thread holds."""


class Conversation(ABC):
    """A conversation during a turn, which is the only turn that runs in it."""

    metadata: Mapping[str, str] = {}
    """The metadata of its thread."""

    def __init__(self, state: ConversationState) -> None:
        self.state = state
        """Updated by the answerer, and stored when the turn ends."""

    async def thread_to_send_on(self) -> ThreadRef | None:
        """The thread in Foundry; its `look_first` says whether the message may be there already."""
        return self.state.thread

    @abstractmethod
    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The newest pairs from number ``since`` on that fit into ``tokens``, oldest first."""

    @abstractmethod
    async def save(self, state: ConversationState) -> None:
        """Store a new state now, before the turn ends."""
