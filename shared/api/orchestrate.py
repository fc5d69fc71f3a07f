"""`POST /orchestrate`: `ModelOrchestrator.process_model_request` over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pydantic import Field

from ..config import AppSettings
from ..http.answers import Answer, Streamed, accepts_events
from ..http.idempotency import kept_outcome, once
from ..http.request import Incoming
from ..http.sse import event_stream
from ..orchestration import ModelType
from ..orchestration.conversations import ModelRequest
from ..orchestration.engine import Orchestration, Progress
from ..orchestration.results import Orchestrated
from ..state.idempotency import Claim, IdempotencyKeys
from ..turns.background import Background
from ..turns.body import MessageText
from ..turns.options import OptionLimits, TurnOptions, turn_request

MAX_CONVERSATION_ID = 256


class Orchestrate(TurnOptions):
    """A message for whichever model answers."""

    user_input: MessageText
    """What the user says."""

    conversation_id: str = Field(min_length=1, max_length=MAX_CONVERSATION_ID)
    """Your own name of the conversation; it remembers, whichever model answers."""

    model_type: ModelType | None = None
    """The model to ask first; left out, the one preferred for the domain."""


@dataclass(frozen=True, slots=True)
class OrchestrateApi:
    """Handlers of `/orchestrate`."""

    orchestration: Orchestration
    background: Background
    keys: IdempotencyKeys
    option_limits: OptionLimits
    settings: AppSettings

    async def send(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message in a conversation, streamed if the caller accepts events."""
        body = await incoming.body(Orchestrate)
        self.option_limits.check(body)
        turn = turn_request(body, body.user_input)
        streamed = accepts_events(incoming.request)
        settings = self.settings
        request = ModelRequest(
            turn=turn,
            conversation_id=body.conversation_id,
            seconds=settings.stream_seconds if streamed else settings.turn_seconds,
            model_type=body.model_type,
            streamed=streamed,
            owner=incoming.owner,
            caller=incoming.caller,
        )

        async def act(claim: Claim | None) -> Answer | Streamed:
            keep = kept_outcome(claim, incoming.request_id, Orchestrated.to_json)
            claimed = replace(request, claim=claim, keep=keep)
            if not streamed:
                answer = await self.background.run(self.orchestration.run(claimed))
                return Answer(answer.to_json())

            async def work(tell: Callable[[Progress], None]) -> Orchestrated:
                return await self.orchestration.run(claimed, tell=tell)

            events = self.background.stream(work)
            first = await anext(events)
            return Streamed(event_stream(first, events, incoming.request_id))

        return await once(self.keys, incoming, body, act)
