"""`POST /messages`, and the turns of messages on threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config import AppSettings
from ..foundry.models import TurnResult
from ..http.answers import Answer, Streamed, accepts_events
from ..http.documents import turn_document
from ..http.idempotency import kept_outcome, once
from ..http.request import Incoming
from ..http.sse import event_stream
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.keys import Kind
from ..state.turns import TurnMode
from ..turns.body import MessageText
from ..turns.options import OptionLimits, TurnOptions, turn_request
from ..turns.pipeline import AnsweredTurn, TurnCommand, TurnOpened, Turns

WARNING = "x-budget-warning"
"""Header of an answer that brought a budget near its end."""


class SendMessage(TurnOptions):
    """Body of `POST /messages` and `POST /threads/{thread_id}/messages`."""

    message: MessageText
    """What the user says; at most 1,048,576 characters."""


@dataclass(frozen=True, slots=True)
class MessagesApi:
    """Handlers of `/messages`."""

    turns: Turns
    keys: IdempotencyKeys
    option_limits: OptionLimits
    settings: AppSettings

    async def send(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message that stands alone."""
        return await self.run_turn(incoming, thread_id=None)

    async def run_turn(
        self, incoming: Incoming, thread_id: str | None, wait: float = 0.0
    ) -> Answer | Streamed:
        """Run the turn that a request's body asks for, streamed if the caller accepts events."""
        body = await incoming.body(SendMessage)
        self.option_limits.check(body)
        request = turn_request(body, body.message)
        streamed = accepts_events(incoming.request)
        settings = self.settings
        command = TurnCommand(
            owner=incoming.owner,
            request=request,
            seconds=settings.stream_seconds if streamed else settings.turn_seconds_after(wait),
            thread_id=thread_id,
            wait=wait,
            mode=TurnMode.STREAM if streamed else TurnMode.SYNC,
            caller=incoming.caller,
        )

        async def act(claim: Claim | None) -> Answer | Streamed:
            turn_id = claim.id(Kind.TURN) if claim else ""
            claimed = replace(command, claim=claim)

            def document(result: TurnResult) -> dict[str, Any]:
                return turn_document(AnsweredTurn(turn_id, thread_id, result))

            keep = kept_outcome(claim, incoming.request_id, document)
            if not streamed:
                turn = await self.turns.run(claimed, keep)
                return Answer(turn_document(turn), headers=_warning(turn.warnings))
            events = self.turns.stream(claimed, keep)
            first = await anext(events)
            warnings = first.warnings if isinstance(first, TurnOpened) else ()
            return Streamed(event_stream(first, events, incoming.request_id), _warning(warnings))

        return await once(self.keys, incoming, body, act)


def _warning(texts: Sequence[str]) -> dict[str, str]:
    return {WARNING: ", ".join(texts)} if texts else {}
