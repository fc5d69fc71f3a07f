"""A conversation during a turn: its thread in Foundry, the earlier messages, and open calls.

All models read the history from here, so a conversation can continue with another model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..foundry.models import ThreadRef, TurnRequest, TurnResult
from ..foundry.wire_json import JsonObject
from ..text import to_json_bytes
from .open_calls import settled

BYTES_PER_TOKEN = 3
"""English has at least four and Chinese about three, so this estimates too many tokens."""

TOKENS_PER_MESSAGE = 8
"""The most tokens that a chat template adds to a message."""


@dataclass(frozen=True, slots=True)
class MessagePair:
    """A user's message and its answer."""

    question: str
    """Empty if only outputs were sent."""
    answer: str
    """Empty if only functions were called."""
    outputs: tuple[JsonObject, ...] = ()
    """The outputs of earlier calls that came with the question, as items."""
    calls: tuple[JsonObject, ...] = ()
    """The calls of the caller's functions with which the answer ends, as items."""

    @classmethod
    def of(cls, request: TurnRequest, result: TurnResult) -> MessagePair:
        """What another model needs to know of an answered turn."""
        return cls(
            request.message,
            result.content,
            tuple(output.to_item() for output in request.outputs),
            tuple(call.to_item() for call in result.calls),
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MessagePair:
        """Read the document of `to_json`."""
        outputs, calls = document.get("outputs", ()), document.get("calls", ())
        return cls(document["question"], document["answer"], tuple(outputs), tuple(calls))

    def to_json(self) -> dict[str, Any]:
        """The pair as it is stored."""
        document: dict[str, Any] = {"question": self.question, "answer": self.answer}
        lists = {"outputs": self.outputs, "calls": self.calls}
        return document | {name: items for name, items in lists.items() if items}

    @property
    def tokens(self) -> int:
        """The estimated number of tokens of both."""
        texts = [self.question, self.answer]
        texts += [to_json_bytes(item).decode() for item in (*self.outputs, *self.calls)]
        return sum(map(estimated_tokens, texts))

    def items(self) -> list[JsonObject]:
        """Both as items of the Responses API."""
        said = (("user", self.question), ("assistant", self.answer))
        has_calls = bool(self.outputs or self.calls)
        messages = [
            {"type": "message", "role": role, "content": text}
            for role, text in said
            if text or not has_calls
        ]
        return [*self.outputs, *messages, *self.calls]


def items_of(pairs: Iterable[MessagePair]) -> list[JsonObject]:
    """Message pairs as items of the Responses API."""
    return [item for pair in pairs for item in pair.items()]


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
    handed_over: tuple[JsonObject, ...] = ()
    """The calls and requests for approval that the last turn handed over to the caller."""


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

    def settled(self, request: TurnRequest) -> TurnRequest:
        """The request with an answer to each call that the last turn handed over, see `settled`.

        Raises:
            UnknownCallError: if it answers a call or request that is not open.
        """
        return settled(request, self.state.handed_over)

    @abstractmethod
    async def history(self, since: int, tokens: int) -> tuple[MessagePair, ...]:
        """The newest pairs from number ``since`` on that fit into ``tokens``, oldest first."""

    @abstractmethod
    async def save(self, state: ConversationState) -> None:
        """Store a new state now, before the turn ends."""
