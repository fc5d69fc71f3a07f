"""A turn as server-sent events.

The events are a closed set: ``turn.started``, ``message.delta``, ``tool.started``,
``tool.finished``, then exactly one of ``turn.completed`` (the whole result) and ``error`` (a
problem document). Comment lines are sent while a turn runs without events.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from enum import StrEnum
from typing import Any, NotRequired

from ..documents import Document as JsonDocument
from ..foundry.events import MessageDelta, ToolFinished, ToolStarted
from ..problems import INTERNAL_ERROR, ProblemDocument, problem_from
from ..text import to_json_bytes
from ..turns.background import StillRunning
from ..turns.command import AnsweredTurn, Progress, TurnOpened

log = logging.getLogger(__name__)

_IDS = ("turn_id", "thread_id", "conversationId")

_COMMENT = b": the turn still runs\n\n"


class EventName(StrEnum):
    """The names of the events."""

    TURN_STARTED = "turn.started"
    MESSAGE_DELTA = "message.delta"
    TOOL_STARTED = "tool.started"
    TOOL_FINISHED = "tool.finished"
    TURN_COMPLETED = "turn.completed"
    ERROR = "error"

    @classmethod
    def payloads(cls, completed: Any) -> dict[str, Any]:
        """The types of the data of each event, if a whole result has the type ``completed``."""
        return {
            cls.TURN_STARTED: TurnStarted,
            cls.MESSAGE_DELTA: Delta,
            cls.TOOL_STARTED: ToolCallStarted,
            cls.TOOL_FINISHED: ToolCallFinished,
            cls.TURN_COMPLETED: completed,
            cls.ERROR: ProblemDocument,
        }


class TurnStarted(JsonDocument):
    """The turn is sent to the model now."""

    turn_id: str
    thread_id: str | None
    conversationId: NotRequired[str]  # noqa: N815 - documented


class Delta(JsonDocument):
    """A part of the answer."""

    text: str


class ToolCallStarted(JsonDocument):
    """The model calls a tool."""

    name: str
    call_id: str


class ToolCallFinished(ToolCallStarted):
    """A tool call has ended."""

    succeeded: bool


Document = Callable[[AnsweredTurn], dict[str, Any]]
"""Makes the body of the answer to a turn."""


async def event_stream(
    first: Progress, rest: AsyncGenerator[Progress], request_id: str, document: Document
) -> AsyncIterator[bytes]:
    """Encode ``first`` and the ``rest`` of the events; an exception becomes an `error` event."""
    try:
        yield _frame(first, document)
        async for event in rest:
            if frame := _frame(event, document):
                yield frame
    except Exception as error:
        problem = problem_from(error)
        if problem is INTERNAL_ERROR:
            log.exception("Request %s failed while streaming", request_id)
        yield _encode(EventName.ERROR, problem.to_json(request_id))


async def replayed_stream(turn: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """Encode the stored document of an ended turn as a stream."""
    ids = {name: turn[name] for name in _IDS if name in turn}
    yield _encode(EventName.TURN_STARTED, ids)
    yield _encode(EventName.TURN_COMPLETED, turn)


def _frame(event: Progress, document: Document) -> bytes:
    match event:
        case TurnOpened():
            ids = {"turn_id": event.turn_id, "thread_id": event.thread_id}
            if event.conversation_id is not None:
                ids["conversationId"] = event.conversation_id
            return _encode(EventName.TURN_STARTED, ids)
        case MessageDelta():
            return _encode(EventName.MESSAGE_DELTA, {"text": event.text})
        case ToolStarted():
            tool = {"name": event.name, "call_id": event.call_id}
            return _encode(EventName.TOOL_STARTED, tool)
        case ToolFinished():
            tool = {"name": event.name, "call_id": event.call_id, "succeeded": event.succeeded}
            return _encode(EventName.TOOL_FINISHED, tool)
        case AnsweredTurn():
            return _encode(EventName.TURN_COMPLETED, document(event))
        case StillRunning():
            return _COMMENT
        case _:  # other events are not shown to callers
            return b""


def _encode(name: EventName, data: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), to_json_bytes(data))
