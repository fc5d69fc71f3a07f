"""What was said in a conversation so far, and how much of it a model can be sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

BYTES_PER_TOKEN = 3
"""English has four and more, Chinese about three: an estimate that rather leaves out too much."""

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
    """About how many tokens a message takes; rather more than it does."""
    size = len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


class HistoryWindow:
    """Collects exchanges, newest first, until no more tokens are left."""

    def __init__(self, tokens: int) -> None:
        self._left = tokens
        self._kept: list[MessagePair] = []
        self.is_full = tokens <= 0

    def take(self, newest_first: Iterable[MessagePair]) -> None:
        """Add older exchanges; the first that does not fit is the end of it."""
        for exchange in newest_first:
            self._left -= exchange.tokens
            if self._left < 0:
                self.is_full = True
            if self.is_full:
                return
            self._kept.append(exchange)

    def exchanges(self) -> tuple[MessagePair, ...]:
        """What was taken, oldest first."""
        return tuple(reversed(self._kept))
