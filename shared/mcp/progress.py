"""A streamed call: reports of its progress while the turn runs, then the answer.

Reports go to clients that ask for them, at most one a second. Others get a comment line while a
turn runs without events, so that no proxy closes the stream.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ..documents import JsonObject
from ..foundry.events import MessageDelta, ToolFinished, ToolStarted
from ..http.answers import Answer
from ..http.serve import problem_answer
from ..text import to_json_bytes
from ..turns.background import StillRunning
from ..turns.command import AnsweredTurn, Progress, TurnOpened
from .jsonrpc import Id

log = logging.getLogger(__name__)

MIN_SECONDS = 1.0
"""Between two reports."""

MAX_REPORT_CHARS = 500
"""Of the end of the answer so far: the whole answer comes at the end."""

COMMENT = b": the turn still runs\n\n"


@dataclass(slots=True)
class _Report:
    """The reports of a turn that runs, for its client."""

    token: Id
    sent: int = 0
    due_at: float = 0.0
    text: str = ""
    news: str | None = None
    """What was not reported yet."""

    def see(self, event: Progress) -> None:
        match event:
            case TurnOpened():
                self.news = "The agent works."
            case ToolStarted():
                self.news = f"The tool {event.name} runs."
            case ToolFinished():
                self.news = f"The tool {event.name} has {_end(event)}."
            case MessageDelta():
                self.text = (self.text + event.text)[-MAX_REPORT_CHARS:]
                self.news = self.text
            case StillRunning():
                self.news = self.news or "The agent still works."
            case _:  # other events are not shown to callers
                pass

    def due(self, now: float) -> bytes:
        """The next report, if it is time for one."""
        if self.news is None or now < self.due_at:
            return b""
        self.sent, self.due_at = self.sent + 1, now + MIN_SECONDS
        params = {"progressToken": self.token, "progress": self.sent, "message": self.news}
        self.news = None
        return frame({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def _end(event: ToolFinished) -> str:
    return "finished" if event.succeeded else "failed"


@dataclass(frozen=True, slots=True)
class CallStream:
    """Makes the stream of a call."""

    answer: Callable[[Answer], JsonObject]
    """Makes the JSON-RPC answer to the call of what its route would answer."""
    token: Id | None
    """The client's id of the progress; None if it wants no reports."""
    clock: Callable[[], float] = field(default=monotonic)

    async def encode(
        self,
        first: Progress,
        rest: AsyncGenerator[Progress],
        request_id: str,
        document: Callable[[AnsweredTurn], dict[str, Any]],
    ) -> AsyncIterator[bytes]:
        """Encode the events of a turn; the last one, or an error, becomes the answer."""
        report = _Report(self.token) if self.token is not None else None
        try:
            event = first
            while not isinstance(event, AnsweredTurn):
                if chunk := self._chunk(event, report):
                    yield chunk
                event = await anext(rest)
            answer = Answer(document(event))
        except Exception as error:  # noqa: BLE001 - the border of a stream: an error is its answer
            answer = problem_answer(error, request_id)
        yield frame(self.answer(answer))

    def _chunk(self, event: Progress, report: _Report | None) -> bytes:
        if report is None:
            return COMMENT if isinstance(event, StillRunning) else b""
        report.see(event)
        return report.due(self.clock())


def frame(message: JsonObject) -> bytes:
    """A message as a server-sent event."""
    return b"data: %s\n\n" % to_json_bytes(message)
