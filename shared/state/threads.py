"""Threads: the stored data of conversations, whose messages are in Foundry."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from .contention import Contention
from .errors import LaneBusyError, MetadataFullError, RowChangedError, RowMissingError
from .json_properties import read_document, replacing_values
from .keys import AFTER_COLON, Kind, box_key, identifier, is_id, newest_first, partition_key
from .lanes import EXPIRES_AT, HIDDEN, REMOVED_FROM, Clock, Lanes, has_waiting, head_sequence
from .markers import mark_expiry, unmark_expiry
from .table import Change, Operation, Row, Table, Value, equals

MAX_METADATA_PAIRS = 16
"""Foundry's limit for a conversation."""

LAST_TURN_TOKENS = "last_turn_tokens"
"""Property of a thread: the tokens of its last turn, most of which the next turn uses again."""

MAX_RETRY_SECONDS = 86_400.0
"""The longest `retry_after`; a client may not be able to handle years."""

_METADATA_PROPERTY = re.compile(r"^mx?_")
_PLAIN_NAME = re.compile(r"^[A-Za-z0-9_]{1,64}$")


_OPEN_CALLS = "open"
"""Name of the document of `OpenCalls` in a thread's row."""


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """What a thread waits for since its last turn, as items of the Responses API."""

    handed_over: tuple[dict[str, Any], ...] = ()
    """The calls and requests for approval that the caller is to answer."""
    owed: tuple[dict[str, Any], ...] = ()
    """The answers that Foundry's thread needs, see `ThreadRef.owed`."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> OpenCalls:
        """Read the properties of a thread's row."""
        if (document := read_document(values, _OPEN_CALLS)) is None:
            return NO_CALLS
        return cls(tuple(document["handed_over"]), tuple(document["owed"]))

    def replacing(self, row: Row) -> dict[str, Value]:
        """The properties that replace those of a thread's row; none where both are empty."""
        document = {"handed_over": self.handed_over, "owed": self.owed}
        is_empty = not (self.handed_over or self.owed)
        return replacing_values(None if is_empty else document, _OPEN_CALLS, row.values)


NO_CALLS = OpenCalls()


@dataclass(frozen=True, slots=True)
class Thread:
    """A stateful conversation of one owner."""

    thread_id: str
    owner: str
    created_at: datetime
    last_accessed: datetime
    agent_id: str | None = None
    message_count: int = 0
    """Messages that were answered; failed turns are not counted."""
    total_tokens: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    conversation_id: str | None = None
    """The Foundry conversation of the thread, if the endpoint has conversations."""
    last_response_id: str | None = None
    """The newest response, which the next turn continues if there is no conversation."""
    last_item_id: str | None = None
    """The newest known item of the conversation."""
    unsettled: bool = False
    """The last turn failed, and Foundry may have items of it that are not recorded here."""
    expires_at: datetime | None = None
    messages_in_foundry: int = 0
    """How many of the answered messages, counted from the first, are in Foundry's thread."""
    named_by: str | None = None
    """Key of the row that maps a caller's own conversation id to this thread."""
    open_calls: OpenCalls = NO_CALLS
    """What the last turn handed over to the caller."""
    removed_from: datetime | None = None
    """The time in its expiry marker, if the thread is being deleted."""

    @classmethod
    def from_row(cls, owner: str, row: Row) -> Thread:
        """Read a row that `to_values` wrote."""
        values: Mapping[str, Any] = row.values
        return cls(
            thread_id=identifier(row.row_key),
            owner=owner,
            created_at=values["created_at"],
            last_accessed=values["last_accessed"],
            agent_id=values.get("agent_id"),
            message_count=values["message_count"],
            total_tokens=values["total_tokens"],
            metadata=json.loads(values["metadata"]),
            conversation_id=values.get("conversation_id") or None,
            last_response_id=values.get("last_response_id") or None,
            last_item_id=values.get("last_item_id") or None,
            unsettled=values.get("unsettled", False),
            expires_at=values.get(EXPIRES_AT),
            messages_in_foundry=values.get("messages_in_foundry", values["message_count"]),
            named_by=values.get("named_by"),
            open_calls=OpenCalls.of(values),
            removed_from=values.get(REMOVED_FROM),
        )

    def to_values(self) -> dict[str, Value | None]:
        """The row's properties, without those of the lane."""
        return {
            "created_at": self.created_at,
            "last_accessed": self.last_accessed,
            "agent_id": self.agent_id,
            "message_count": self.message_count,
            "total_tokens": self.total_tokens,
            "conversation_id": self.conversation_id,
            "last_response_id": self.last_response_id,
            "last_item_id": self.last_item_id,
            "messages_in_foundry": self.messages_in_foundry,
            EXPIRES_AT: self.expires_at,
            "named_by": self.named_by,
            **_metadata_values(self.metadata),
        }


def end_of_conversation(row: Row) -> str:
    """The conversation and its last known item for `FirstTry`, given a thread's row."""
    if not (item_id := row.values.get("last_item_id")):
        return ""
    return f"{row.values.get('conversation_id') or ''} {item_id}"


def _metadata_values(metadata: Mapping[str, str]) -> dict[str, Value | None]:
    """Metadata as one JSON property to read, and one property per pair to filter by."""
    kept: dict[str, Value | None] = {_property(key): text for key, text in metadata.items()}
    return {"metadata": json.dumps(dict(metadata), ensure_ascii=False), **kept}


def thread_metadata(row: Row, key: str) -> str | None:
    """The metadata text of a key, given the thread's row."""
    return row.values.get(_property(key))


def _property(metadata_key: str) -> str:
    if _PLAIN_NAME.fullmatch(metadata_key):
        return f"m_{metadata_key}"
    return f"mx_{hashlib.sha256(metadata_key.encode()).hexdigest()}"


class Threads:
    """The threads of all owners; each can only be read with its owner."""

    def __init__(self, table: Table, lanes: Lanes, clock: Clock) -> None:
        self._table = table
        self._lanes = lanes
        self._clock = clock

    async def add(self, thread: Thread, also: Sequence[Change] = ()) -> None:
        """Store a new thread, in one transaction with ``also``.

        Raises:
            RowExistsError: if it was stored before.
        """
        if thread.expires_at is not None:
            await mark_expiry(self._table, thread.owner, thread.thread_id, thread.expires_at)
        row_key = newest_first(thread.thread_id)
        values = thread.to_values()
        change = Change(Operation.INSERT, row_key, values)
        etag = await self._table.write(partition_key(thread.owner), [change, *also])
        kept = {name: value for name, value in values.items() if value is not None}
        self._lanes.remember(thread.owner, Row(row_key, etag, kept))

    async def get(self, owner: str, thread_id: str) -> Thread:
        """The current state of a thread.

        Raises:
            RowMissingError: if the owner has no such thread, or it has expired.
        """
        return Thread.from_row(owner, await self._row(owner, thread_id))

    async def check(self, owner: str, thread_id: str) -> Row:
        """The row of a thread, from this instance's cache if it is there.

        Raises:
            RowMissingError: if the owner has no such thread, or it has expired.
        """
        return await self._row(owner, thread_id, fresh=False)

    async def _row(self, owner: str, thread_id: str, *, fresh: bool = True) -> Row:
        if not is_id(Kind.THREAD, thread_id):
            raise RowMissingError(f"{thread_id!r} is not the id of a thread.")
        return await self._lanes.read(owner, newest_first(thread_id), fresh=fresh)

    async def list(
        self, owner: str, *, limit: int, after: str | None, metadata: Mapping[str, str]
    ) -> list[Thread]:
        """Up to ``limit`` threads, newest first, that follow ``after`` and have ``metadata``."""
        where = " and ".join(equals(_property(key), text) for key, text in metadata.items())
        start = newest_first(after) if after else f"{Kind.THREAD}:"
        end = f"{Kind.THREAD}{AFTER_COLON}"
        threads: list[Thread] = []
        while len(threads) < limit:
            wanted = limit - len(threads)
            rows = await self._table.scan(
                partition_key(owner), start, end, limit=wanted, where=where
            )
            threads += [Thread.from_row(owner, row) for row in rows if self._is_visible(row)]
            if len(rows) < wanted:
                break
            start = rows[-1].row_key
        return threads

    def _is_visible(self, row: Row) -> bool:
        expires_at: datetime | None = row.values.get(EXPIRES_AT)
        return not row.values.get(HIDDEN) and (expires_at is None or expires_at > self._clock())

    async def merge_metadata(
        self, owner: str, thread_id: str, pairs: Mapping[str, str | None]
    ) -> Thread:
        """Merge pairs into a thread's metadata; None removes a pair.

        Raises:
            RowMissingError: if the owner has no such thread.
            MetadataFullError: if the thread would have too many pairs.
        """
        contention = Contention("the thread")
        while True:
            row = await self._row(owner, thread_id)
            thread = Thread.from_row(owner, row)
            merged = {**thread.metadata, **pairs}
            kept = {key: text for key, text in merged.items() if text is not None}
            if len(kept) > MAX_METADATA_PAIRS:
                raise MetadataFullError(MAX_METADATA_PAIRS)
            thread = replace(thread, metadata=kept)
            others = {n: v for n, v in row.values.items() if not _METADATA_PROPERTY.match(n)}
            values = others | _metadata_values(kept)
            change = Change(Operation.REPLACE, row.row_key, values, row.etag)
            try:
                await self._table.write(partition_key(owner), [change])
            except RowChangedError as error:
                await contention.pause(error)
                continue
            self._lanes.forget(owner, row.row_key)
            return thread

    async def start_removal(
        self, owner: str, thread_id: str, *, removed_from: datetime | None = None
    ) -> Thread:
        """Hide a thread before it is deleted; only this method still finds it.

        With ``removed_from``, its waiting jobs are deleted too, and the thread first gets an expiry
        marker for that moment, so that a sweep finishes the removal if this process dies.

        Raises:
            LaneBusyError: if a turn runs on it, or jobs wait and ``removed_from`` is None.
            RowMissingError: if the owner has no such thread.
        """
        if not is_id(Kind.THREAD, thread_id):
            raise RowMissingError(f"{thread_id!r} is not the id of a thread.")
        is_marked, contention = False, Contention("the thread")
        while True:
            row = await self._table.get(partition_key(owner), newest_first(thread_id))
            if row is None:
                raise RowMissingError(f"There is no thread {thread_id}.")
            if row.values.get(HIDDEN):
                return Thread.from_row(owner, row)
            if busy := self._lanes.busy_seconds(row):
                raise LaneBusyError(busy)
            if removed_from is None and has_waiting(row):
                raise await self._busy_with_job(owner, thread_id, row)
            if removed_from is not None and not is_marked:
                await mark_expiry(self._table, owner, thread_id, removed_from)
                is_marked = True
            hidden: dict[str, Value | None] = {HIDDEN: True, REMOVED_FROM: removed_from}
            change = Change(Operation.MERGE, row.row_key, hidden, row.etag)
            try:
                await self._table.write(partition_key(owner), [change])
            except RowChangedError as error:
                await contention.pause(error)
                continue
            self._lanes.forget(owner, row.row_key)
            return replace(Thread.from_row(owner, row), removed_from=removed_from)

    async def _busy_with_job(self, owner: str, thread_id: str, row: Row) -> LaneBusyError:
        """The error that says which job waits on a thread, and until when."""
        box = await self._table.get(partition_key(owner), box_key(thread_id, head_sequence(row)))
        job_id = box.values["job_id"] if box else "that has just ended"
        moment: datetime | None = box.values.get("not_before") if box else None
        until = f", to run not before {moment.isoformat()}" if moment else ""
        seconds = (moment - self._clock()).total_seconds() if moment else 0.0
        return LaneBusyError(
            min(max(seconds, 1.0), MAX_RETRY_SECONDS),
            f"Job {job_id} waits on this thread{until}. Cancel it, or try again when it has ended.",
        )

    async def finish_removal(self, thread: Thread) -> None:
        """Delete a thread's row and its expiry markers."""
        row_key = newest_first(thread.thread_id)
        await self._table.write(partition_key(thread.owner), [Change(Operation.DELETE, row_key)])
        for moment in (thread.expires_at, thread.removed_from):
            if moment is not None:
                await unmark_expiry(self._table, thread.owner, thread.thread_id, moment)

    async def is_due(self, owner: str, thread_id: str) -> bool:
        """Whether a marked thread is to be deleted now: it has expired, or it is hidden."""
        row = await self._table.get(partition_key(owner), newest_first(thread_id))
        return row is not None and not self._is_visible(row)
