"""Claims on idempotency keys: the right to handle the request with a key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

from ulid import ULID

from ..text import to_json_bytes
from .errors import StateError
from .json_properties import document_values
from .keys import Kind
from .lanes import Clock
from .table import Change, Operation, Row, Value
from .turns import FirstTry

log = logging.getLogger(__name__)

MARK_SECONDS = 1.0
"""After so long, the first attempt of a request writes its row."""

RESENT = "resent"
"""Property of a key that is the digest of a request; its row is kept for minutes only."""

WAITS = "waits"
"""Property of such a key that a later attempt has claimed, while the first one may still run."""

ANSWERED = "answered"
"""Property of a key whose answer is stored."""

THREAD_ID = "thread_id"
"""Property of a key: the thread of its answer, which is deleted with that thread."""

BODY = "body"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The answer to the first request with a key."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class ClaimedRows(Protocol):
    """The rows of claims, as `IdempotencyKeys` reads and writes them."""

    now: Clock
    renew_seconds: float

    def recorded(self, answer: KeptAnswer) -> dict[str, Any]:
        """The body of an answer as it is stored."""
        ...

    async def held(self, owner: str, row: Row) -> Row:
        """A claimed row with its ETag."""
        ...

    async def renewed(self, owner: str, row: Row) -> Row:
        """Renew a claim."""
        ...

    async def marked(self, owner: str, row: Row) -> Row:
        """Write the row of a first attempt that still runs."""
        ...

    async def write(self, owner: str, change: Change) -> str:
        """Write one change to a key of an owner."""
        ...


class Claim:
    """The right to handle the request with a key.

    It lasts for `hold_seconds`; an ``async with`` block renews it.
    """

    first_renewal: float | None = None
    """Seconds until the row is written again; None for `renew_seconds`."""

    def __init__(self, keys: ClaimedRows, owner: str, row: Row, *, is_first: bool) -> None:
        self._keys = keys
        self._owner = owner
        self._row: Row = row
        self._is_first = is_first
        self._ended = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._renewer: asyncio.Task[None] | None = None
        self.is_settled = False
        """Whether a change that ends or reopens the claim was made for a transaction."""

    @property
    def is_new(self) -> bool:
        """Whether this claim wrote the row, so that no other attempt is known."""
        return self._is_first

    def holds(self, row: Row) -> bool:
        """Whether a row, read again, is still this claim's."""
        return row.values.get("holder") == self._row.values["holder"]

    def id(self, kind: Kind) -> str:
        """The id of what the request creates; the same in every attempt."""
        return f"{kind}_{self._row.values['makes']}"

    @property
    def first_try(self) -> FirstTry | None:
        """The first attempt to send the message, in any process, or None."""
        return FirstTry.from_values(self._row.values)

    async def begin(self, end_of_conversation: str) -> Change:
        """The change that marks the message as tried, for the transaction of its turn's lease.

        The transaction fails if another request has taken over the key, so that a process that
        seemed dead does not send the message a second time.

        Raises:
            KeyInUseError: if another request has taken over the key.
        """
        row = await self._keys.held(self._owner, self._row)
        now = FirstTry(self._keys.now(), end_of_conversation)
        tried = (FirstTry.from_values(row.values) or now).to_values()
        self._row = Row(row.row_key, UNKNOWN, {**row.values, **tried})
        return Change(Operation.MERGE, row.row_key, tried, row.etag)

    def finish(self, answer: KeptAnswer) -> Change:
        """The change that stores the answer, for the transaction of the request's effect.

        Raises:
            DocumentTooLargeError: if the answer does not fit into a row.
        """
        body = self._keys.recorded(answer)
        outcome: dict[str, Value | None] = {
            ANSWERED: True,
            "status": answer.status,
            "headers": to_json_bytes(answer.headers).decode(),
            THREAD_ID: body.get(THREAD_ID) or self._row.values.get(THREAD_ID) or _response_id(body),
            **document_values(body, BODY),
        }
        self.is_settled = True
        return self._upsert(outcome)

    def reopen(self) -> Change:
        """The change that frees the key after a failed attempt, so that a retry can start at once.

        It belongs in the transaction that records the attempt; a retry creates rows with new ids.
        """
        self.is_settled = True
        return self._upsert({"makes": str(ULID()), "until": self._keys.now()})

    def _upsert(self, values: Mapping[str, Value | None]) -> Change:
        """Unconditional: the insert of the row with the claim's `id` guards the transaction."""
        kept = {name: self._row.values[name] for name in LASTING if name in self._row.values}
        return Change(Operation.UPSERT, self._row.row_key, {**kept, **values})

    async def record(self, answer: KeptAnswer) -> None:
        """Store the answer to a request that changed nothing."""
        await self._keys.write(self._owner, self.finish(answer))

    async def give_up(self) -> None:
        """Free the key at once, because the request failed before it had an effect.

        If it may have had an effect, the row stays, so that a later claim has the same ids.
        """
        try:
            row = await self._keys.held(self._owner, self._row)
            tried = FirstTry.from_values(row.values)
            if self._is_first and not self.is_settled and not tried:
                change = Change(Operation.DELETE, row.row_key, etag=row.etag)
            else:
                free = {"until": self._keys.now()}
                change = Change(Operation.MERGE, row.row_key, free, row.etag)
            await self._keys.write(self._owner, change)
        except StateError as error:
            log.info("An idempotency key stays claimed until its hold expires: %s", error)

    async def __aenter__(self) -> Self:
        seconds = self.first_renewal or self._keys.renew_seconds
        self._due = asyncio.get_running_loop().call_later(seconds, self._start_renewals)
        return self

    def _start_renewals(self) -> None:
        self._renewer = asyncio.create_task(self._renew())

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._due is not None:
            self._due.cancel()
        if self._renewer is not None:
            await self._renewer

    async def _renew(self) -> None:
        while not self._ended.is_set():
            await self._renew_row()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self._keys.renew_seconds)

    async def _renew_row(self) -> None:
        renewed = await self._keys.renewed(self._owner, self._row)
        self._row = replace(renewed, values={**self._row.values, **renewed.values})


class FirstAttempt(Claim):
    """The claim of a request that may come again; its row is not written yet."""

    first_renewal = MARK_SECONDS
    _is_begun = False

    async def begin(self, end_of_conversation: str) -> Change:
        """The change that marks the message as tried, and writes the row."""
        now = FirstTry(self._keys.now(), end_of_conversation)
        self._row = Row(self._row.row_key, UNKNOWN, {**self._row.values, **now.to_values()})
        self._is_begun = True
        return Change(Operation.UPSERT, self._row.row_key, self._row.values)

    async def give_up(self) -> None:
        """Free the key, if its row is written."""
        if self._is_begun:
            await super().give_up()

    async def _renew_row(self) -> None:
        if self._is_begun:
            await super()._renew_row()
        elif not self.is_settled:
            try:
                self._row = await self._keys.marked(self._owner, self._row)
                self._is_begun = True
            except StateError as error:
                log.info("A request that may come again is not marked yet: %s", error)


UNKNOWN = ""
"""The ETag of a row that was changed in a transaction, which returns no ETag for it."""

LASTING = ("fingerprint", "makes", "created_at", "tried_at", "sent_after", RESENT, THREAD_ID)
"""Properties that a key keeps; only `reopen` replaces the ids to create."""


def _response_id(body: Mapping[str, Any]) -> str | None:
    """The id of a stored response, whose deletion deletes the answer too."""
    is_stored = body.get("object") == "response" and body.get("store")
    return body["id"] if is_stored else None
