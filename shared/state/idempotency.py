"""Idempotency keys: a request that comes again has its effect once and gets the first answer.

A key is a row. It is written before anything happens and names the ids of what the request will
make; the answer is written in the same transaction as that. So a process that dies leaves either
both or neither, and two that act on one key, because one was taken for dead, cannot both commit:
the second finds the row of its turn, thread or job there already.
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
"""How long a request counts as running without a renewal."""

RENEWALS_PER_HOLD = 3

LOOK_AGAIN_SECONDS = 2.0
"""`Retry-After` of a key in use; most requests are over soon."""

ANSWERED = "answered"
"""Property of a key whose request is over."""

THREAD_ID = "thread_id"
"""Property of a key: the thread that its answer is about, with which the answer goes."""

_BODY = "body"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The answer to the first request with a key."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Claim:
    """The right to do what the request with a key asks for.

    As an ``async with`` block it lasts as long as the block does; outside, as the keys' hold.
    """

    def __init__(self, keys: IdempotencyKeys, owner: str, row: Row, *, is_first: bool) -> None:
        self._keys = keys
        self._owner = owner
        self._row: Row = row
        self._is_first = is_first
        self._ended = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None
        self.is_settled = False
        """What becomes of the key was put into a transaction."""

    def id(self, kind: Kind) -> str:
        """The id of what the request creates; the same at every attempt."""
        return f"{kind}_{self._row.values['makes']}"

    @property
    def first_try(self) -> FirstTry | None:
        """When its message was tried first, by whomever, if it was."""
        return FirstTry.from_values(self._row.values)

    async def begin(self, end_of_conversation: str) -> Change:
        """The change that marks the message as tried, for the transaction of its turn's lease.

        It fails the lease if another request has taken the key over, so that a process that was
        thought dead does not send what its successor has sent.

        Raises:
            KeyInUseError: if another request has taken the key over.
        """
        row = await self._keys.held(self._owner, self._row)
        now = FirstTry(self._keys.now(), end_of_conversation)
        tried = (FirstTry.from_values(row.values) or now).to_values()
        self._row = Row(row.row_key, UNKNOWN, {**row.values, **tried})
        return Change(Operation.MERGE, row.row_key, tried, row.etag)

    def finish(self, answer: KeptAnswer) -> Change:
        """The change that keeps the answer, for the transaction of the request's effect.

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
        """The change that lets the request be tried anew at once, after an attempt that failed.

        It belongs into the transaction that records the attempt; the next makes rows of its own.
        """
        self.is_settled = True
        return self._upsert({"makes": str(ULID()), "until": self._keys.now()})

    def _upsert(self, values: Mapping[str, Value | None]) -> Change:
        """Unconditional: what guards the transaction is the new row it makes under `id`."""
        kept = {name: self._row.values[name] for name in _LASTING if name in self._row.values}
        return Change(Operation.UPSERT, self._row.row_key, {**kept, **values})

    async def record(self, answer: KeptAnswer) -> None:
        """Keep the answer to a request that changed nothing."""
        await self._keys.write(self._owner, self.finish(answer))

    async def give_up(self) -> None:
        """Let the request be made again at once, because it failed before it had an effect.

        Where it may have had one after all, a later claim makes the same ids.
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
            log.info("An idempotency key stays claimed for a while: %s", error)

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
"""The version of a row that was changed in a transaction with others."""

_LASTING = ("fingerprint", "makes", "created_at", "tried_at", "sent_after", THREAD_ID)
"""Properties of a key that stay, except that a new attempt makes new ids."""


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
        """The body of an answer as its row holds it."""
        if self._record_content:
            return dict(answer.body)
        return without_content(answer.status, answer.body)

    async def claim(
        self, owner: str, key: str, fingerprint: str, thread_id: str | None = None
    ) -> Claim | KeptAnswer:
        """Claim a key for the request with a fingerprint, or get the answer it had.

        ``thread_id`` is the thread that the request names; with it, its answer goes.

        Raises:
            KeyMismatchError: if the key was used for another request.
            KeyInUseError: if the request is being worked on.
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
                if row is None:  # given up in between
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
        """Whether the request of a key's row runs."""
        until: datetime = values["until"]
        return until > self.now()

    def _hold(self) -> dict[str, Value]:
        """The properties of a claim; the holder marks this write as its own."""
        until = self.now() + timedelta(seconds=self.hold_seconds)
        return {"holder": str(ULID()), "until": until}

    async def _claimed(
        self, owner: str, change: Change, values: Mapping[str, Any], *, is_first: bool
    ) -> Claim:
        etag = await self.write(owner, change)
        return Claim(self, owner, Row(change.row_key, etag, values), is_first=is_first)

    async def held(self, owner: str, row: Row) -> Row:
        """A claimed row with its version, which is read where it is not known.

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
        """Hold a claimed row for another `hold_seconds`, as far as that is possible."""
        hold = {**self._hold(), "holder": row.values["holder"]}
        try:
            row = await self.held(owner, row)
            etag = await self.write(owner, Change(Operation.MERGE, row.row_key, hold, row.etag))
        except RowChangedError:
            return replace(row, etag=UNKNOWN)
        except StateError as error:
            log.info("An idempotency key could not be held: %s", error)
            return row
        return Row(row.row_key, etag, {**row.values, **hold})

    async def write(self, owner: str, change: Change) -> str:
        """Make one change to an owner's keys."""
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
        "detail": "What this request was about has been deleted.",
        "code": "not_found",
    },
)
"""The answer to a key whose thread is deleted: what it asked for is not done once more."""

_TIMES = ("fingerprint", "makes", "created_at", "until")


async def forget_answers(table: Table, owner: str, thread_id: str) -> int:
    """Put `GONE` in place of all answers about a thread; returns how many there were."""
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
