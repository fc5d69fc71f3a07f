"""Exchanges: the questions and answers of a thread, kept so that any model can continue it.

An exchange is a document: `question`, `answer` and, where the caller runs functions, the `calls`
with which the answer ends, and the `outputs` of earlier calls that came with the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .json_properties import fitting_values, read_document
from .keys import exchange_key, exchange_prefix, partition_key
from .row_deletion import delete_range
from .table import Change, Operation, Table, Value

PAGE_ROWS = 20
"""Read in one request: 20 typical exchanges fill the context of a small model."""

_DOCUMENT = "exchange"


def insert_exchange(thread_id: str, number: int, exchange: Mapping[str, Any]) -> Change:
    """The change that stores exchange ``number``, counted from 0; texts that do not fit are cut."""
    values: dict[str, Value | None] = {**fitting_values(exchange, _DOCUMENT)}
    return Change(Operation.INSERT, exchange_key(thread_id, number), values)


class Exchanges:
    """The exchanges of all threads."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def read(self, owner: str, thread_id: str, first: int, end: int) -> list[dict[str, Any]]:
        """Exchanges from number ``first`` up to, not including, ``end``, oldest first; at most the
        last `PAGE_ROWS`."""
        first = max(first, end - PAGE_ROWS, 0)
        after = exchange_key(thread_id, first - 1) if first else exchange_prefix(thread_id)
        rows = await self._table.scan(
            partition_key(owner), after, exchange_key(thread_id, end), limit=PAGE_ROWS
        )
        kept = (read_document(row.values, _DOCUMENT) for row in rows)
        return [exchange for exchange in kept if exchange]

    async def remove(self, owner: str, thread_id: str) -> None:
        """Delete all exchanges of a thread."""
        await delete_range(self._table, partition_key(owner), exchange_prefix(thread_id))
