"""`/responses`: answer, read again, continue, delete."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import FoundryAgentServiceConfig
from ..foundry.client_calls import check_said
from ..foundry.errors import InvalidRequestError, UnknownCallError
from ..foundry.models import Approval, ClientOutput, TurnRequest
from ..http.answers import Answer, Streamed
from ..http.field_errors import invalid_field
from ..http.request import Incoming
from ..state.errors import RowExistsError, StateError
from ..state.responses import StoredResponse
from ..turns.command import Outcome, TurnOpened
from ..turns.options import refused
from .asked import Commands
from .background import BackgroundResponses, has_ended
from .conversations import thread_of
from .deletion import Deletion
from .fields import unsupported
from .items import APPROVAL, read_items, shown_items
from .pages import page_of_items
from .queries import ItemsQuery, ResponseQuery
from .response_body import ResponseCreate
from .response_events import Pieces, ResponseFrames, again, begun_of, failed, frame
from .response_wire import ResponseForm, response_id_of, ulid_of
from .said import JsonObject as Item
from .said import Said, joined, settled
from .sends import Form, Sends
from .stored import Record, Stored, shown

log = logging.getLogger(__name__)

OUTPUT = "function_call_output"

_INSTRUCTING = {"system", "developer"}


@dataclass(frozen=True, slots=True)
class ResponsesApi:
    """Handlers of `/responses`."""

    commands: Commands
    sends: Sends
    stored: Stored
    background: BackgroundResponses
    deletion: Deletion
    config: FoundryAgentServiceConfig
    content: bool
    """Whether texts are stored."""

    async def create(self, incoming: Incoming) -> Answer | Streamed:
        """Answer an input, alone or after that of earlier responses."""
        body = await incoming.body(ResponseCreate)
        body.check()
        self._check(body)
        read = read_items(body.input)
        chain = await self.stored.chain(incoming.owner, body.previous_response_id)
        items = await self.stored.resolve(incoming.owner, read.items)
        tools = body.known_tools
        thread_id = thread_of(body.conversation_id) if body.conversation_id else None
        said = _said(body.instructions, [*chain.items, *items], is_whole=thread_id is None)
        ready = self.commands.ready(incoming, body.asked(said, tools, tuple(read.ignored)))
        if thread_id is None:
            _check_answers_nothing(items)
        else:
            request = _on_thread(ready.command.request)
            _check_limits(request)
            command = replace(ready.command, thread_id=thread_id, request=request)
            ready = replace(ready, command=command)
        form = ResponseForm(body, tools, self.config)
        record = Record(form, items, chain, Pieces(), self.content, self.stored.clock, thread_id)
        record.check()
        if body.background:
            return await self.background.submit(incoming, ready, record)
        answer_form = self._form(incoming.owner, record)
        try:
            return await self.sends.answer(incoming, body, ready, answer_form)
        except UnknownCallError as error:
            raise refused("input", error.message, error.code) from error

    def _check(self, body: ResponseCreate) -> None:
        """Check that fields go together, and with the settings."""
        if body.conversation is not None and body.previous_response_id is not None:
            reason = "cannot be given together with previous_response_id"
            raise unsupported("conversation", reason)
        if body.background and not body.stores:
            raise unsupported("background", "needs a response that is stored")
        if body.background and not self.content:
            raise unsupported("background", "this app stores no texts (RECORD_CONTENT)")
        if body.previous_response_id is not None and not self.content:
            reason = "this app stores no texts (RECORD_CONTENT); send the whole input"
            raise unsupported("previous_response_id", reason)

    def _form(self, owner: str, record: Record) -> Form:
        form, pieces, ids = record.form, record.pieces, list[str]()

        def watch(event: object) -> None:
            if isinstance(event, TurnOpened):
                ids.append(event.turn_id)
            pieces.watch(event)

        def keep(outcome: Outcome) -> Any:
            if not form.body.stores:
                return ()
            return record.answered(outcome, ids[0] if ids else None)

        async def note(opened: TurnOpened) -> None:
            begun = record.begun(response_id_of(opened.turn_id))
            try:
                await self.stored.responses.add(owner, begun)
            except RowExistsError:
                log.debug("Response %s was stored already", begun.response_id)
            except StateError as error:
                log.warning(
                    "Response %s can be read when it has ended: %s", begun.response_id, error
                )

        return Form(
            document=form.answered,
            frames=lambda: ResponseFrames(form, pieces),
            replay=_replay,
            failed=failed,
            keep=keep,
            watch=watch,
            opened=note if form.body.stores else None,
        )

    async def get(self, incoming: Incoming) -> Answer | Streamed:
        """A stored response, or its events after a number."""
        asked = incoming.parameters_as(ResponseQuery)
        stored = await self._read(incoming)
        if not asked.stream:
            return Answer(shown(stored))
        shown(stored)
        after = -1 if asked.starting_after is None else asked.starting_after
        return Streamed(self.background.follow(incoming.owner, stored, after))

    async def _read(self, incoming: Incoming) -> StoredResponse:
        return await self.stored.get(incoming.owner, incoming.path["response_id"])

    async def delete(self, incoming: Incoming) -> Answer:
        """Delete a stored response with its texts; what its turn used stays counted."""
        stored = await self._read(incoming)
        if not has_ended(stored):
            raise invalid_field("response_id", "is of a response that still runs: cancel it first")
        await self.deletion.delete(incoming.owner, stored)
        return Answer({"id": stored.response_id, "object": "response", "deleted": True})

    async def cancel(self, incoming: Incoming) -> Answer | Streamed:
        """Cancel a response that runs in the background."""
        stored = await self._read(incoming)
        if stored.job_id is None:
            raise invalid_field("response_id", "is not of a response in the background")
        return await self.background.cancel(incoming, stored, stored.job_id)

    async def list_input_items(self, incoming: Incoming) -> Answer:
        """A page of the input items of a stored response."""
        asked = incoming.parameters_as(ItemsQuery)
        stored = await self._read(incoming)
        items = shown_items(stored.document.get("input", ()), ulid_of(stored.response_id))
        return Answer(page_of_items(items, asked))


async def _replay(response: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The events of the stored answer to an earlier request."""
    for event in again(begun_of(response), dict(response), Pieces()):
        yield frame(event)


def _on_thread(request: TurnRequest) -> TurnRequest:
    """The request with the outputs of the calls that the thread's last turn handed over."""
    outputs = [item for item in request.preceding if item["type"] == OUTPUT]
    approvals = [item for item in request.preceding if item["type"] == APPROVAL]
    others = [item for item in request.preceding if item["type"] not in {OUTPUT, APPROVAL}]
    if any(not isinstance(item["output"], str) for item in outputs):
        raise unsupported("input", "in a conversation, the output of a function is text")
    return replace(
        request,
        preceding=tuple(others),
        outputs=tuple(ClientOutput(item["call_id"], item["output"]) for item in outputs),
        approvals=tuple(
            Approval(item["approval_request_id"], item["approve"], item["reason"])
            for item in approvals
        ),
    )


def _check_limits(request: TurnRequest) -> None:
    """Check that the outputs of functions and the approvals are within the limits."""
    try:
        check_said(request)
    except InvalidRequestError as error:
        raise refused("input", error.message, error.code) from error


def _check_answers_nothing(items: list[Item]) -> None:
    """Check that an input without a conversation approves nothing: there, nothing is asked."""
    if any(item["type"] == APPROVAL for item in items):
        raise unsupported("input", "an approval is given in the conversation that asks for it")


def _said(instructions: str | None, items: list[Item], *, is_whole: bool) -> Said:
    """What a conversation says; messages of the system are instructions wherever they stand.

    If it ``is_whole``, each call in it gets an output.
    """
    texts = [item["content"] for item in items if item.get("role") in _INSTRUCTING]
    others = [item for item in items if item.get("role") not in _INSTRUCTING]
    whole = settled(others, "input") if is_whole else tuple(others)
    return Said(joined([instructions or "", *texts]), whole)
