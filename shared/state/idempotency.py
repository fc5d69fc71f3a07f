"""Idempotency keys: a repeated request has its effect once and gets the first answer.

A key is a row, written before the request is handled, with the ids of what the request will create.
The answer is written in the same transaction as the effect, so a process that dies leaves both or
neither. If two processes handle one key, because one seemed dead, only one can commit: the row of
the turn, thread or job exists already for the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from ulid import ULID

from .content import without_content
from .contention import Contention
from .errors import (
    KeyInUseError,
    KeyMismatchError,
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
)
from .json_properties import document_values, read_document
from .keys import IDEMPOTENCY, Kind, key_row, partition_key
from .lanes import Clock
from .row_deletion import page_of
from .table import Change, Operation, Row, Table, Value, equals
from .turns import FirstTry

log = logging.getLogger(__name__)

HOLD_SECONDS = 60.0
"""How long a request counts as running after its last renewal."""

RENEWALS_PER_HOLD = 3

LOOK_AGAIN_SECONDS = 2.0
"""`Retry-After` of a key in use; most requests end soon."""

ANSWERED = "answered"
"""Property of a key whose answer is stored."""

THREAD_ID = "thread_id"
"""Property of a key: the thread of its answer, which is deleted with that thread."""

_BODY = "body"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The answer to the first request with a key."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Claim:
    """The right to handle the request with a key.

    It lasts for `hold_seconds`; an ``async with`` block renews it.
    """

    def __init__(self, keys: IdempotencyKeys, owner: str, row: Row, *, is_first: bool) -> None:
        self._keys = keys
        self._owner = owner
        self._row: Row = row
        self._is_first = is_first
        self._ended = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None
        self.is_settled = False
        """Whether a change that ends or reopens the claim was made for a transaction."""

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
            "headers": json.dumps(dict(answer.headers)),
            THREAD_ID: body.get(THREAD_ID) or self._row.values.get(THREAD_ID),
            **document_values(body, _BODY),
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
        kept = {name: self._row.values[name] for name in _LASTING if name in self._row.values}
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
        self._renewer = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._renewer is not None:
            await self._renewer

    async def _renew(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._ended.wait(), self._keys.renew_seconds)
            except TimeoutError:
                renewed = await self._keys.renewed(self._owner, self._row)
                self._row = replace(renewed, values={**self._row.values, **renewed.values})
            else:
                return


UNKNOWN = ""
"""The ETag of a row that was changed in a transaction, which returns no ETag for it."""

_LASTING = ("fingerprint", "makes", "created_at", "tried_at", "sent_after", THREAD_ID)
"""Properties that a key keeps; only `reopen` replaces the ids to create."""


class IdempotencyKeys:
    """The keys of all owners."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        *,
        record_content: bool = True,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._table = table
        self.now = clock
        self.hold_seconds = hold_seconds
        self.renew_seconds = hold_seconds / RENEWALS_PER_HOLD
        self._record_content = record_content

    def recorded(self, answer: KeptAnswer) -> dict[str, Any]:
        """The body of an answer as it is stored."""
        if self._record_content:
            return dict(answer.body)
        return without_content(answer.status, answer.body)

    async def claim(
        self, owner: str, key: str, fingerprint: str, thread_id: str | None = None
    ) -> Claim | KeptAnswer:
        """Claim a key for the request with a fingerprint, or return its stored answer.

        ``thread_id`` is the thread that the request names; the answer is deleted with it.

        Raises:
            KeyMismatchError: if the key was used for another request.
            KeyInUseError: if the request is still running.
        """
        row_key = key_row(hashlib.sha256(key.encode(errors="replace")).hexdigest())
        values: dict[str, Value] = {
            "fingerprint": fingerprint,
            "makes": str(ULID()),
            "created_at": self.now(),
            **({THREAD_ID: thread_id} if thread_id else {}),
            **self._hold(),
        }
        insert = Change(Operation.INSERT, row_key, values)
        contention = Contention("the Idempotency-Key")
        while True:
            try:
                return await self._claimed(owner, insert, values, is_first=True)
            except RowExistsError as error:
                row = await self._table.get(partition_key(owner), row_key)
                if row is None:  # freed since the insert failed
                    await contention.pause(error)
                    continue
            if row.values["fingerprint"] != fingerprint:
                raise KeyMismatchError
            if row.values.get(ANSWERED):
                return _kept_answer(row)
            if self.is_running(row.values):
                raise KeyInUseError(LOOK_AGAIN_SECONDS)
            hold = self._hold()
            take_over = Change(Operation.MERGE, row_key, hold, row.etag)
            try:
                return await self._claimed(owner, take_over, {**row.values, **hold}, is_first=False)
            except RowChangedError as error:
                await contention.pause(error)

    def is_running(self, values: Mapping[str, Any]) -> bool:
        """Whether the request of a key's row is still running."""
        until: datetime = values["until"]
        return until > self.now()

    def _hold(self) -> dict[str, Value]:
        """The properties of a claim; the holder identifies this write."""
        until = self.now() + timedelta(seconds=self.hold_seconds)
        return {"holder": str(ULID()), "until": until}

    async def _claimed(
        self, owner: str, change: Change, values: Mapping[str, Any], *, is_first: bool
    ) -> Claim:
        etag = await self.write(owner, change)
        return Claim(self, owner, Row(change.row_key, etag, values), is_first=is_first)

    async def held(self, owner: str, row: Row) -> Row:
        """A claimed row with its ETag, which is read if it is unknown.

        Raises:
            KeyInUseError: if another request has claimed it since.
        """
        if row.etag != UNKNOWN:
            return row
        found = await self._table.get(partition_key(owner), row.row_key)
        if found is None or found.values.get("holder") != row.values["holder"]:
            raise KeyInUseError(LOOK_AGAIN_SECONDS)
        return found

    async def renewed(self, owner: str, row: Row) -> Row:
        """Renew a claim for `hold_seconds`; a failure is logged and not raised."""
        hold = {**self._hold(), "holder": row.values["holder"]}
        try:
            row = await self.held(owner, row)
            etag = await self.write(owner, Change(Operation.MERGE, row.row_key, hold, row.etag))
        except RowChangedError:
            return replace(row, etag=UNKNOWN)
        except StateError as error:
            log.info("The claim of an idempotency key could not be renewed: %s", error)
            return row
        return Row(row.row_key, etag, {**row.values, **hold})

    async def write(self, owner: str, change: Change) -> str:
        """Write one change to a key of an owner."""
        return await self._table.write(partition_key(owner), [change])


def _kept_answer(row: Row) -> KeptAnswer:
    values = row.values
    body = read_document(values, _BODY)
    return KeptAnswer(int(values["status"]), json.loads(values["headers"]), body or {})


GONE = KeptAnswer(
    HTTPStatus.NOT_FOUND,
    {},
    {
        "type": "about:blank",
        "title": HTTPStatus.NOT_FOUND.phrase,
        "status": HTTPStatus.NOT_FOUND.value,
        "detail": "The thread of this request has been deleted.",
        "code": "not_found",
    },
)
"""The stored answer of a key whose thread was deleted; the request is not run again."""

_TIMES = ("fingerprint", "makes", "created_at", "until")


async def forget_answers(table: Table, owner: str, thread_id: str) -> int:
    """Replace all answers about a thread with `GONE`; returns how many."""
    partition, forgotten = partition_key(owner), 0
    about, prefix = equals(THREAD_ID, thread_id), f"{IDEMPOTENCY}:"
    gone = {
        ANSWERED: True,
        "status": GONE.status,
        "headers": "{}",
        **document_values(GONE.body, _BODY),
    }
    while rows := await page_of(table, partition, prefix, where=about, select=_TIMES):
        changes = [
            Change(Operation.REPLACE, row.row_key, {**row.values, **gone}, row.etag) for row in rows
        ]
        try:
            await table.write(partition, changes)
        except (RowChangedError, RowMissingError):
            continue
        forgotten += len(rows)
    return forgotten
