"""A conversation during a turn: its thread in Foundry, and the messages before this one.

Whichever model answers reads the history from here, so a conversation may move between models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..foundry.models import ThreadRef

BYTES_PER_TOKEN = 3
"""English has four and more, Chinese about three: an estimate on the safe side."""

TOKENS_PER_MESSAGE = 8
"""What a chat template adds around a message, at the most."""


@dataclass(frozen=True, slots=True)
class MessagePair:
    """A question and its answer."""

    question: str
    answer: str

    @property
    def tokens(self) -> int:
        """About how many tokens both take."""
        return estimated_tokens(self.question) + estimated_tokens(self.answer)

    def messages(self) -> list[dict[str, Any]]:
        """Both as chat messages."""
        return [
            {"role": "user", "content": self.question},
            {"role": "assistant", "content": self.answer},
        ]


def estimated_tokens(text: str) -> int:
    """About how many tokens a message takes, rather too many than too few."""
    size = len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


class HistoryWindow:
    """Collects message pairs, newest first, until a number of tokens is used up."""

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
        """What fits, oldest first."""
        return tuple(reversed(self._kept))


@dataclass(frozen=True, slots=True)
class ConversationState:
    """How far a conversation has come, and how much of it Foundry holds."""

    thread_id: str
    messages: int = 0
    """How many were answered."""
    thread: ThreadRef | None = None
    """The thread in Foundry, where there is one."""
    in_foundry: int = 0
    """How many of the messages, the first ones, are in Foundry's thread."""


class Conversation(ABC):
    """A conversation during one of its turns; no other turn runs in it meanwhile."""

    metadata: Mapping[str, str] = {}
    """Of its thread."""

    def __init__(self, state: ConversationState) -> None:
        self.state = state
        """The model that answers changes it; it is stored when the turn ends."""

    async def thread_to_send_on(self) -> ThreadRef | None:
        """The thread in Foundry, and whether the message must be looked for there first."""
        return self.state.thread

    @abstractmethod
    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The pairs from number ``since`` on, oldest first, without old ones beyond ``tokens``."""

    @abstractmethod
    async def save(self, state: ConversationState) -> None:
        """Store a new state now, before the turn ends."""
