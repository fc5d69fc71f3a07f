"""What a streamed turn tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .models import TurnResult
from .wire_json import JsonObject


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """Foundry has begun to answer."""

    response_id: str


@dataclass(frozen=True, slots=True)
class MessageDelta:
    """A piece of the answer's text, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool is being used, by Foundry or by us."""

    name: str
    call_id: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool has been used."""

    name: str
    call_id: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The turn is over; always the last event."""

    result: TurnResult


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event of the service that has no type here, as it came."""

    body: JsonObject


TurnEvent: TypeAlias = (
    TurnStarted | MessageDelta | ToolStarted | ToolFinished | TurnCompleted | OtherEvent
)

Emit = Callable[[TurnEvent], None]
"""Takes the events of a turn while it runs."""
