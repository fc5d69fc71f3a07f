"""`POST /orchestrate`: `ModelOrchestrator.process_model_request` over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from pydantic import Field

from ..http.answers import Answer, Streamed, accepts_events
from ..http.idempotency import keyed
from ..http.prefer import preference
from ..http.request import Incoming
from ..http.sse import replayed_stream
from ..jobs.requests import ConversationJob, options_of
from ..turns.body import MessageText
from ..turns.documents import orchestration_document
from ..turns.options import TurnOptions
from .deferred import sent_orchestration
from .messages import MessagesApi

MAX_CONVERSATION_ID = 256


class Orchestrate(TurnOptions):
    """Body of `POST /orchestrate`: a message for any of the configured models."""

    asks_any_model: ClassVar[bool] = True

    user_input: MessageText
    """What the user says."""

    conversation_id: str = Field(min_length=1, max_length=MAX_CONVERSATION_ID)
    """Your own id of the conversation; every model that answers gets its history."""


@dataclass(frozen=True, slots=True)
class OrchestrateApi:
    """Handlers of `/orchestrate`."""

    messages: MessagesApi

    async def send(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message of a conversation with the model that the body names or prefers."""
        body = await incoming.body(Orchestrate)
        preferred = preference(incoming.request)
        if preferred.respond_async:
            job = ConversationJob(
                message=body.user_input, conversation_id=body.conversation_id, **options_of(body)
            )
            document = sent_orchestration(body, body.conversation_id)
            return await self.messages.deferred.send(incoming, body, job, preferred, document)
        streamed = accepts_events(incoming.request)
        command = replace(
            self.messages.command(incoming, body, body.user_input, streamed=streamed),
            conversation_id=body.conversation_id,
            orchestrated=True,
        )
        answered = partial(orchestration_document, command=command)
        request = keyed(incoming, body, replay=replayed_stream if streamed else None)
        return await self.messages.answer(request, command, answered)
