"""`POST /chat/completions`."""

from __future__ import annotations

from dataclasses import dataclass

from ..http.answers import Answer, Streamed
from ..http.request import Incoming
from .asked import Commands
from .chat_body import CreateChatCompletion
from .chat_wire import ChatForm
from .sends import Sends


@dataclass(frozen=True, slots=True)
class ChatApi:
    """Handlers of `/chat`."""

    commands: Commands
    sends: Sends

    async def complete(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a conversation, which the request has in full."""
        body = await incoming.body(CreateChatCompletion)
        asked = body.asked()
        ready = self.commands.ready(incoming, asked)
        form = ChatForm(asked.model, asked.stop, body.wants_usage)
        return await self.sends.answer(incoming, body, ready, form.form())
