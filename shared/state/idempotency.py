"""Idempotency keys: a repeated request has its effect once and gets the first answer.

A key is a row, written before the request is handled, with the ids of what the request will create.
The answer is written in the same transaction as the effect, so a process that dies leaves both or
neither. If two processes handle one key, because one seemed dead, only one can commit: the row of
the turn, thread or job exists already for the other.

An SDK that sends a request again numbers its attempts, but gives no key. Then the digest of the
request is the key, and the row of the first attempt costs no transaction of its own: the one that
leases the thread writes it, or the one that commits the turn. Only a turn without a thread that
still runs after `MARK_SECONDS` writes it in the background. A later attempt that finds no row
claims the key, and waits until a first one that still ran elsewhere must have written its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from ulid import ULID

from .claims import (
    ANSWERED,
    BODY,
    RESENT,
    THREAD_ID,
    UNKNOWN,
    WAITS,
    Claim,
    FirstAttempt,
    KeptAnswer,
)
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
from .keys import IDEMPOTENCY, key_row, partition_key
from .lanes import Clock
from .row_deletion import page_of
from .table import Change, Operation, Row, Table, Value, equals

log = logging.getLogger(__name__)

HOLD_SECONDS = 60.0
"""How long a request counts as running after its last renewal."""

RENEWALS_PER_HOLD = 3

LOOK_AGAIN_SECONDS = 2.0
"""`Retry-After` of a key in use; most requests end soon."""

SETTLE_SECONDS = 3.0
"""How long a later attempt waits for the row of a first one that another process may still run."""

RESEND_WINDOW = timedelta(minutes=10)
"""The longest time that official SDKs wait for an answer: after it, an equal request is new."""


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

    def first_attempt(self, owner: str, key: str, fingerprint: str, thread_id: str | None) -> Claim:
        """A claim on the digest of a request that may come again; nothing is written yet."""
        values = {**self._new(fingerprint, thread_id), RESENT: True}
        return FirstAttempt(self, owner, Row(_row_key(key), UNKNOWN, values), is_first=True)

    async def marked(self, owner: str, row: Row) -> Row:
        """Write the row of a first attempt that still runs, in place of that of an earlier request.

        Raises:
            RowChangedError: if it was committed meanwhile, or a later request has the row.
        """
        try:
            return replace(row, etag=await self.write(owner, _insert(row)))
        except RowExistsError:
            found = await self._table.get(partition_key(owner), row.row_key)
        if found is None or found.values["makes"] == row.values["makes"]:
            raise RowChangedError
        is_later = found.values["created_at"] > row.values["created_at"]
        if is_later and not found.values.get(WAITS):
            raise RowChangedError
        etag = await self.write(
            owner, Change(Operation.REPLACE, row.row_key, row.values, found.etag)
        )
        return replace(row, etag=etag)

    async def later_attempt(
        self, owner: str, key: str, fingerprint: str, thread_id: str | None
    ) -> Claim | KeptAnswer:
        """Claim the digest of a request that came before, or return the answer that it got.

        Raises:
            KeyInUseError: if the request is still running.
        """
        claimed = await self.claim(owner, key, fingerprint, thread_id, is_resent=True)
        if not (isinstance(claimed, Claim) and claimed.is_new):
            return claimed
        await asyncio.sleep(SETTLE_SECONDS)
        found = await self._table.get(partition_key(owner), _row_key(key))
        if found is None or not claimed.holds(found):
            return await self.claim(owner, key, fingerprint, thread_id, is_resent=True)
        return claimed

    def _new(self, fingerprint: str, thread_id: str | None) -> dict[str, Value]:
        """The properties of a new row."""
        makes = str(ULID())
        return {
            "fingerprint": fingerprint,
            "makes": makes,
            "created_at": self.now(),
            **({THREAD_ID: thread_id} if thread_id else {}),
            **self._hold(makes),
        }

    async def claim(
        self,
        owner: str,
        key: str,
        fingerprint: str,
        thread_id: str | None = None,
        *,
        is_resent: bool = False,
    ) -> Claim | KeptAnswer:
        """Claim a key for the request with a fingerprint, or return its stored answer.

        ``thread_id`` is the thread that the request names; the answer is deleted with it. A request
        that ``is_resent`` has a digest for a key, which counts for `RESEND_WINDOW`.

        Raises:
            KeyMismatchError: if the key was used for another request.
            KeyInUseError: if the request is still running.
        """
        row_key = _row_key(key)
        values = self._new(fingerprint, thread_id)
        if is_resent:
            values |= {RESENT: True, WAITS: True}
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
            try:
                return await self._claimed_again(owner, row, values)
            except RowChangedError as error:
                await contention.pause(error)

    async def _claimed_again(
        self, owner: str, row: Row, values: Mapping[str, Value]
    ) -> Claim | KeptAnswer:
        """Take over a row, or return its answer; ``values`` are those of a new row."""
        if RESENT in values and row.values["created_at"] + RESEND_WINDOW <= self.now():
            renew = Change(Operation.REPLACE, row.row_key, values, row.etag)
            return await self._claimed(owner, renew, values, is_first=True)
        if row.values["fingerprint"] != values["fingerprint"]:
            raise KeyMismatchError
        if row.values.get(ANSWERED):
            return _kept_answer(row)
        if self.is_running(row.values):
            raise KeyInUseError(LOOK_AGAIN_SECONDS)
        hold = self._hold(str(ULID()))
        take_over = Change(Operation.MERGE, row.row_key, hold, row.etag)
        return await self._claimed(owner, take_over, {**row.values, **hold}, is_first=False)

    def is_running(self, values: Mapping[str, Any]) -> bool:
        """Whether the request of a key's row is still running."""
        until: datetime = values["until"]
        return until > self.now()

    def _hold(self, holder: str) -> dict[str, Value]:
        """The properties of a claim; each one has a holder of its own."""
        until = self.now() + timedelta(seconds=self.hold_seconds)
        return {"holder": holder, "until": until}

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
        hold = self._hold(row.values["holder"])
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


def _row_key(key: str) -> str:
    return key_row(hashlib.sha256(key.encode(errors="replace")).hexdigest())


def _insert(row: Row) -> Change:
    return Change(Operation.INSERT, row.row_key, row.values)


def _kept_answer(row: Row) -> KeptAnswer:
    values = row.values
    body = read_document(values, BODY)
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

_SURVIVING = ("fingerprint", "makes", "created_at", "until")
"""The properties of a key that stay when its answer is deleted."""


async def forget_answers(table: Table, owner: str, thread_id: str) -> int:
    """Replace all answers about a thread with `GONE`; returns how many."""
    partition, forgotten = partition_key(owner), 0
    about, prefix = equals(THREAD_ID, thread_id), f"{IDEMPOTENCY}:"
    gone = {
        ANSWERED: True,
        "status": GONE.status,
        "headers": "{}",
        **document_values(GONE.body, BODY),
    }
    while rows := await page_of(table, partition, prefix, where=about, select=_SURVIVING):
        changes = [
            Change(Operation.REPLACE, row.row_key, {**row.values, **gone}, row.etag) for row in rows
        ]
        try:
            await table.write(partition, changes)
        except (RowChangedError, RowMissingError):
            continue
        forgotten += len(rows)
    return forgotten
