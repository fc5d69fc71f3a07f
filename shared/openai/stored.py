"""Stored responses: what is kept of one, and what is sent of a chain of them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ..documents import JsonObject
from ..foundry.errors import FoundryError
from ..http.field_errors import invalid_field
from ..problems import Problem, ProblemError, ProblemKind, problem_from
from ..state.content import CONTENT_RECORDED, without_texts
from ..state.errors import DocumentTooLargeError, RowMissingError
from ..state.jobs import Jobs
from ..state.lanes import Clock
from ..state.responses import MAX_BYTES, Responses, StoredResponse
from ..state.table import Change
from ..text import to_json_bytes
from ..turns.command import Outcome
from .items import APPROVAL, Reference, sent_item
from .response_events import Pieces
from .response_wire import (
    REQUESTS,
    TOO_LONG,
    ResponseForm,
    ResponseStatus,
    ended_by,
    of_job,
    response_id_of,
)

MAX_CHAIN = 500
"""The most responses before one in its chain."""

ROOM_FOR_OUTPUT = MAX_BYTES // 3
"""The part of a stored response that is left for its output."""

_INTERRUPTED = {"status": 503, "code": "service_unavailable", "detail": "The response broke off."}

TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Chain:
    """The responses that a request continues."""

    ids: tuple[str, ...] = ()
    """Oldest first."""
    items: tuple[JsonObject, ...] = ()
    """All that was said in them."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored of the response to one request."""

    form: ResponseForm
    input: Sequence[JsonObject]
    chain: Chain
    pieces: Pieces
    content: bool
    """Whether texts are stored."""
    clock: Clock
    thread_id: str | None = None

    def begun(self, response_id: str, *, job_id: str | None = None) -> StoredResponse:
        """The response before it has an answer."""
        status = ResponseStatus.QUEUED if job_id else ResponseStatus.IN_PROGRESS
        stored = self._stored(self.form.begun(response_id, status))
        return replace(stored, job_id=job_id)

    def answered(self, outcome: Outcome, turn_id: str | None) -> list[Change]:
        """The changes that store a turn's response; none for a failure that has no id."""
        if not isinstance(outcome, FoundryError):
            return self._changes(self.form.answered(outcome))
        if turn_id is None:
            return []
        problem = problem_from(outcome).to_json()
        return self._changes(self.form.failed(response_id_of(turn_id), problem))

    def _changes(self, response: JsonObject) -> list[Change]:
        try:
            return self._stored(response).changes()
        except DocumentTooLargeError:
            emptied: JsonObject = {**response, "output": []}
            stored = self._stored(emptied)
            return replace(stored, document={"response": emptied, TOO_LARGE: True}).changes()

    def _stored(self, response: JsonObject) -> StoredResponse:
        document = {
            "response": response if self.content else without_texts(response),
            "input": list(self.input) if self.content else [],
            "chain": list(self.chain.ids),
            "pieces": self.pieces.to_json(),
        }
        return StoredResponse(response["id"], self.clock(), document, self.thread_id)

    def check(self) -> None:
        """Check that the input leaves room for an output.

        Raises:
            ProblemError: 413, if it does not.
        """
        size = sum(map(len, map(to_json_bytes, self.input)))
        size += len(to_json_bytes(self.form.body.tools or []))
        if self.content and size > MAX_BYTES - ROOM_FOR_OUTPUT:
            detail = "The input is too large to be stored; send store: false, or images as URLs."
            raise ProblemError(Problem(ProblemKind.TOO_LARGE, detail))


@dataclass(frozen=True, slots=True)
class Stored:
    """Reads stored responses."""

    responses: Responses
    jobs: Jobs
    clock: Clock
    longest: timedelta
    """After this, a response that was not finished will not be."""

    async def get(self, owner: str, response_id: str) -> StoredResponse:
        """A response; one whose worker died has failed.

        Raises:
            RowMissingError: if the owner has no such response.
        """
        stored = await self.responses.get(owner, response_id)
        if stored.job_id is not None:
            return await self._of_job(owner, stored, stored.job_id)
        response = stored.document["response"]
        is_running = response["status"] == ResponseStatus.IN_PROGRESS
        if not is_running or self.clock() < stored.created_at + self.longest:
            return stored
        failed = ended_by(response, _INTERRUPTED)
        return replace(stored, document={**stored.document, "response": failed})

    async def _of_job(self, owner: str, stored: StoredResponse, job_id: str) -> StoredResponse:
        """A response in the background, with the state of its job."""
        job = await self.jobs.get(owner, job_id)
        document = {**stored.document, "response": of_job(stored.document["response"], job)}
        return replace(stored, document=document)

    async def chain(self, owner: str, response_id: str | None) -> Chain:
        """All that was said up to a response.

        Raises:
            ProblemError: naming `previous_response_id`, if it cannot be continued.
        """
        if response_id is None:
            return Chain()
        field = "previous_response_id"
        try:
            last = await self.get(owner, response_id)
            earlier = await self._all(owner, last.document.get("chain", ()))
        except RowMissingError as error:
            raise _missing(field, response_id) from error
        if last.thread_id is not None:
            raise invalid_field(field, "is of a conversation: give the conversation instead")
        if len(earlier) >= MAX_CHAIN:
            raise invalid_field(field, f"has {MAX_CHAIN} responses before it")
        whole = [*earlier, last]
        for each in whole:
            _check_usable(each, field)
        items = [item for each in whole for item in said_in(each)]
        return Chain(tuple(each.response_id for each in whole), tuple(items))

    async def _all(self, owner: str, ids: Sequence[str]) -> list[StoredResponse]:
        found = await self.responses.get_all(owner, ids)
        return [
            await self._of_job(owner, each, each.job_id) if each.job_id else each for each in found
        ]

    async def resolve(
        self, owner: str, items: Sequence[JsonObject | Reference]
    ) -> list[JsonObject]:
        """Items with those of earlier responses in place of references.

        Raises:
            ProblemError: if the owner has no such item.
        """
        ids = list(dict.fromkeys(i.response_id for i in items if isinstance(i, Reference)))
        if not ids:
            return [item for item in items if not isinstance(item, Reference)]
        try:
            found = await self._all(owner, ids)
        except RowMissingError as error:
            raise _missing("input", "an item of the input") from error
        known = {each.response_id: each for each in found}
        return [
            _referred(known[item.response_id], item) if isinstance(item, Reference) else item
            for item in items
        ]


def _check_usable(stored: StoredResponse, field: str) -> None:
    response = stored.document["response"]
    if stored.document.get(TOO_LARGE):
        raise ProblemError(TOO_LONG)
    if response.get(CONTENT_RECORDED) is False:
        raise invalid_field(field, "names a response whose texts are not stored")
    if not ResponseStatus(response["status"]).is_terminal:
        raise invalid_field(field, "names a response that still runs")


def shown(stored: StoredResponse) -> JsonObject:
    """A stored response as callers see it.

    Raises:
        ProblemError: if it was too long to be stored.
    """
    if stored.document.get(TOO_LARGE):
        raise ProblemError(TOO_LONG)
    return dict(stored.document["response"])


def said_in(stored: StoredResponse) -> list[JsonObject]:
    """The items of one response: its input, then its output."""
    output = stored.document["response"]["output"]
    said = (item for item in output if item["type"] not in REQUESTS)
    return [*stored.document["input"], *map(sent_item, said)]


def _referred(stored: StoredResponse, reference: Reference) -> JsonObject:
    document = stored.document
    items = document["response"]["output"] if reference.is_output else document.get("input", ())
    if reference.number >= len(items):
        raise _missing("input", "an item of the input")
    item = items[reference.number]
    if item["type"] in {*REQUESTS, APPROVAL}:
        raise _missing("input", "a message or call of the input")
    return sent_item(item) if reference.is_output else item


def _missing(field: str, name: str) -> ProblemError:
    return invalid_field(field, f"names {name!r}, which is not among your stored responses")
