"""One turn as a caller takes it, and what the caller got."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.foundry.errors import FoundryError
from shared.foundry.events import MessageDelta, TurnEvent
from shared.foundry.models import FinishReason, ThreadRef, TurnRequest, TurnResult
from shared.foundry.service import FoundryService

ANSWER = "answer"
"""The outcome of a turn that was answered in full."""


class Way(StrEnum):
    """How a caller takes the answer."""

    JSON = "json"
    STREAM = "stream"


@dataclass(frozen=True)
class Got:
    """What a caller got: an answer, or an error."""

    result: TurnResult | None = None
    error: FoundryError | None = None
    streamed: str = ""

    @property
    def outcome(self) -> str:
        """`answer`, or why it was cut short, or the error's code."""
        if self.error:
            return self.error.code
        assert self.result
        whole = self.result.finish_reason is FinishReason.STOP
        return ANSWER if whole else str(self.result.finish_reason)

    @property
    def text(self) -> str | None:
        return self.result.content if self.result else None


async def take_turn(
    service: FoundryService, way: Way, turn: TurnRequest, thread: ThreadRef | None
) -> Got:
    if way is Way.JSON:
        try:
            return Got(await service.respond(turn, thread))
        except FoundryError as error:
            return Got(error=error)
    pieces: list[str] = []

    def emit(event: TurnEvent) -> None:
        if isinstance(event, MessageDelta):
            pieces.append(event.text)

    try:
        result = await service.respond(turn, thread, emit=emit)
    except FoundryError as error:
        return Got(error=error, streamed="".join(pieces))
    return Got(result, streamed="".join(pieces))
