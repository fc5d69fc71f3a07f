"""Responses of the OpenAI-compatible face that callers can read and continue.

A response is a JSON document in one or more rows, because one row is too small for long inputs. The
transaction that commits its turn writes them, so it can be read as soon as it was answered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..text import to_json_bytes
from .errors import DocumentTooLargeError, RowMissingError
from .json_properties import CHUNK_BYTES, MAX_DOCUMENT_BYTES
from .keys import RESPONSE, partition_key
from .row_deletion import delete_range
from .table import Change, Operation, Row, Table, Value, equals

MAX_ROWS = 3
"""Of one response: a transaction takes 4 MiB, in which bytes count a third more."""

MAX_BYTES = MAX_ROWS * MAX_DOCUMENT_BYTES

READS_AT_ONCE = 16

_ID = re.compile(r"resp_(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})")
_BODY = "body"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A stored response."""

    response_id: str
    created_at: datetime
    document: Mapping[str, Any]
    thread_id: str | None = None
    """The thread of its conversation, with which it is deleted."""
    job_id: str | None = None
    """The job that runs it in the background."""

    def changes(self, operation: Operation = Operation.UPSERT) -> list[Change]:
        """The changes that store it.

        Raises:
            DocumentTooLargeError: if it does not fit.
        """
        content = to_json_bytes(self.document)
        if len(content) > MAX_BYTES:
            raise DocumentTooLargeError(len(content), MAX_BYTES)
        starts = range(0, len(content), MAX_DOCUMENT_BYTES)
        slices = [content[start : start + MAX_DOCUMENT_BYTES] for start in starts]
        common: dict[str, Value | None] = {
            "created_at": self.created_at,
            "thread_id": self.thread_id,
            "job_id": self.job_id,
            "rows": len(slices),
        }
        return [
            Change(operation, _row_key(self.response_id, number), {**common, **_chunks(each)})
            for number, each in enumerate(slices)
        ]


class Responses:
    """The responses of all owners; each can only be read with its owner."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, owner: str, response_id: str) -> StoredResponse:
        """A response.

        Raises:
            RowMissingError: if the owner has no such response.
        """
        if not _ID.fullmatch(response_id):
            raise RowMissingError(f"{response_id!r} is not the id of a response.")
        partition = partition_key(owner)
        first = await self._table.get(partition, _row_key(response_id, 0))
        if first is None:
            raise RowMissingError(f"There is no response {response_id}.")
        numbers = range(1, int(first.values["rows"]))
        keys = [_row_key(response_id, number) for number in numbers]
        more = await asyncio.gather(*(self._table.get(partition, key) for key in keys))
        if None in more:  # it was deleted meanwhile
            raise RowMissingError(f"There is no response {response_id}.")
        values = first.values
        return StoredResponse(
            response_id,
            values["created_at"],
            _document([first, *filter(None, more)]),
            values.get("thread_id"),
            values.get("job_id"),
        )

    async def get_all(self, owner: str, response_ids: Sequence[str]) -> list[StoredResponse]:
        """Responses in order.

        Raises:
            RowMissingError: if the owner lacks one of them.
        """
        slots = asyncio.Semaphore(READS_AT_ONCE)

        async def read(response_id: str) -> StoredResponse:
            async with slots:
                return await self.get(owner, response_id)

        return await asyncio.gather(*map(read, response_ids))

    async def add(self, owner: str, response: StoredResponse) -> None:
        """Store a response that has no rows yet.

        Raises:
            RowExistsError: if it has.
        """
        changes = response.changes(Operation.INSERT)
        await self._table.write(partition_key(owner), changes)

    async def delete(self, owner: str, response_id: str) -> None:
        """Delete a response."""
        await delete_range(self._table, partition_key(owner), f"{RESPONSE}:{_ulid(response_id)}:")


async def remove_responses_of(table: Table, owner: str, thread_id: str) -> int:
    """Delete the responses of a thread; returns how many rows."""
    where = equals("thread_id", thread_id)
    return await delete_range(table, partition_key(owner), f"{RESPONSE}:", where=where)


def _ulid(response_id: str) -> str:
    return response_id.partition("_")[2]


def _row_key(response_id: str, number: int) -> str:
    return f"{RESPONSE}:{_ulid(response_id)}:{number}"


def _chunks(content: bytes) -> dict[str, Value]:
    starts = range(0, len(content), CHUNK_BYTES)
    return {f"{_BODY}_{n}": content[at : at + CHUNK_BYTES] for n, at in enumerate(starts)}


def _document(rows: Sequence[Row]) -> dict[str, Any]:
    content = bytearray()
    for row in rows:
        number = 0
        while (chunk := row.values.get(f"{_BODY}_{number}")) is not None:
            content += chunk
            number += 1
    return json.loads(bytes(content))
