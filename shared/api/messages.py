"""`POST /messages`, and the code with which all routes run turns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

from ..config import AppSettings
from ..http.answers import Answer, Streamed, accepts_events
from ..http.idempotency import Keyed, kept_outcome, keyed, once
from ..http.prefer import preference
from ..http.request import Incoming
from ..http.sse import event_stream, replayed_stream
from ..jobs.requests import SubmitJob, options_of
from ..state.errors import RowMissingError
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.keys import Kind, is_id
from ..state.turns import TurnMode
from ..turns.body import MessageText
from ..turns.command import AnsweredTurn, Progress, TurnCommand, TurnOpened
from ..turns.documents import turn_document
from ..turns.options import OptionLimits, TurnOptions, turn_request
from ..turns.pipeline import Turns
from .deferred import DeferredSends, sent_turn

WARNING = "x-budget-warning"
"""Response header: a budget is nearly used up after this turn."""


def _no_default(schema: dict[str, Any]) -> None:
    """An empty message is no value that a caller may give."""
    del schema["default"]


_LEFT_OUT: Any = None
"""The value of a field that a request leaves out or sets to null."""


class SendMessage(TurnOptions):
    """Body of `POST /messages` and `POST /threads/{thread_id}/messages`."""

    message: MessageText = Field(
        default=_LEFT_OUT, validate_default=True, json_schema_extra=_no_default
    )
    """What the user says; at most 1,048,576 characters. It may be left out beside `approvals`."""

    @field_validator("message", mode="wrap")
    @classmethod
    def _may_be_left_out(
        cls, value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> str:
        """Require a message, unless the request approves or denies something."""
        if value in (_LEFT_OUT, "") and info.data.get("approvals"):
            return ""
        if value is _LEFT_OUT:
            raise PydanticCustomError("missing", "Field required")
        return validate(value)


Document = Callable[[AnsweredTurn], dict[str, Any]]
"""Makes the body of the answer to a turn."""

Encode = Callable[[Progress, AsyncGenerator[Progress], str, Document], AsyncIterator[bytes]]
"""Makes the stream of a turn from its first event, the rest, the request's id and the document."""


@dataclass(frozen=True, slots=True)
class MessagesApi:
    """Handlers of `/messages`."""

    turns: Turns
    keys: IdempotencyKeys
    option_limits: OptionLimits
    settings: AppSettings
    deferred: DeferredSends

    async def send(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message without a thread."""
        return await self.run_turn(incoming, thread_id=None)

    async def run_turn(
        self, incoming: Incoming, thread_id: str | None, wait: float = 0.0
    ) -> Answer | Streamed:
        """Run the turn of a request body, on a thread if one is given."""
        body = await incoming.body(SendMessage)
        preferred = preference(incoming.request)
        if preferred.respond_async:
            job = _job(body, thread_id)
            return await self.deferred.send(incoming, body, job, preferred, sent_turn(body))
        streamed = accepts_events(incoming.request)
        command = self.command(
            incoming, body, body.message, streamed=streamed, thread_id=thread_id, wait=wait
        )
        request = keyed(incoming, body, replay=replayed_stream if streamed else None)
        return await self.answer(request, command, turn_document)

    def command(
        self,
        incoming: Incoming,
        body: TurnOptions,
        message: str,
        *,
        streamed: bool,
        thread_id: str | None = None,
        wait: float = 0.0,
    ) -> TurnCommand:
        """The command of a turn that sends ``message``.

        Without a ``model_type``, only Foundry answers.

        Raises:
            ProblemError: 422, naming the invalid field; 403 for one that the client key forbids.
        """
        self.option_limits.check(body, incoming.principal.terms)
        settings = self.settings
        return TurnCommand(
            owner=incoming.owner,
            request=turn_request(body, message),
            seconds=settings.stream_seconds if streamed else settings.turn_seconds_after(wait),
            thread_id=thread_id,
            orchestrated=body.model_type is not None,
            model_type=body.model_type,
            wait=wait,
            mode=TurnMode.STREAM if streamed else TurnMode.SYNC,
            caller=incoming.caller,
        )

    async def answer(
        self,
        request: Keyed,
        command: TurnCommand,
        document: Document,
        encode: Encode = event_stream,
    ) -> Answer | Streamed:
        """Run a turn once per idempotency key and answer with its ``document``."""
        request_id = command.caller.request_id or ""

        async def act(claim: Claim | None) -> Answer | Streamed:
            claimed = replace(command, claim=claim) if claim else command
            keep = kept_outcome(claim, request_id, document)
            if command.mode is not TurnMode.STREAM:
                turn = await self.turns.run(claimed, keep)
                return Answer(document(turn), headers=_warning(turn.opened.warnings))
            events = self.turns.stream(claimed, keep)
            first = await anext(events)
            warnings = first.warnings if isinstance(first, TurnOpened) else ()
            return Streamed(encode(first, events, request_id, document), _warning(warnings))

        return await once(self.keys, request, act)


def _job(body: SendMessage, thread_id: str | None) -> SubmitJob:
    """The job that sends a message.

    Raises:
        RowMissingError: if that is not the id of a thread.
    """
    if thread_id is not None and not is_id(Kind.THREAD, thread_id):
        raise RowMissingError(f"{thread_id!r} is not the id of a thread.")
    return SubmitJob(message=body.message or None, thread_id=thread_id, **options_of(body))


def _warning(texts: Sequence[str]) -> dict[str, str]:
    return {WARNING: ", ".join(texts)} if texts else {}
