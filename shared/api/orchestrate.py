"""`POST /orchestrate`: `ModelOrchestrator.process_model_request` over HTTP."""

from __future__ import annotations

from pydantic import Field

from ..contract import MessageText, TurnOptions
from ..orchestration import ModelType
from ..orchestration.conversations import ModelRequest
from ..services import Services
from ..turns import QUIET_SECONDS
from .border import EVENT_STREAM, Answer, Streamed
from .incoming import Incoming
from .streaming import event_stream

MAX_CONVERSATION_ID = 256


class Orchestrate(TurnOptions):
    """A message for whichever model answers."""

    user_input: MessageText
    """What the user says."""

    conversation_id: str = Field(min_length=1, max_length=MAX_CONVERSATION_ID)
    """Your own name of the conversation; it remembers, whichever model answers."""

    model_type: ModelType | None = None
    """The model to ask first; left out, the one preferred for the domain."""


async def send(services: Services, incoming: Incoming) -> Answer | Streamed:
    """Answer a message in a conversation, streamed if the caller accepts events."""
    body = await incoming.body(Orchestrate)
    streamed = EVENT_STREAM in incoming.request.headers.get("accept", "")
    settings = services.settings
    request = ModelRequest(
        turn=body.turn_request(body.user_input),
        conversation_id=body.conversation_id,
        seconds=settings.stream_seconds if streamed else settings.turn_seconds,
        model_type=body.model_type,
        owner=incoming.owner,
        streamed=streamed,
    )
    if not streamed:
        answer = await services.background.run(services.orchestration.run(request))
        return Answer(answer.to_json())
    events = services.background.stream(services.orchestration.events(request), QUIET_SECONDS)
    first = await anext(events)
    return Streamed(event_stream(first, events, incoming.request_id))
