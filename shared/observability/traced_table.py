"""A table that records a span for each call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import SpanKind

from ..state.table import Change, Row, Table
from .tracing import (
    BATCH_SIZE,
    COLLECTION,
    DATABASE,
    DATABASE_OPERATION,
    Attributes,
    span,
    within_trace,
)

TABLE_STORAGE = "azure.table_storage"
"""This app's own name: the conventions define none for Table Storage."""


class TracedTable:
    """Wraps a table; calls outside a trace, such as those of a timer, have no span.

    Spans contain no keys and values, because those name owners and contain message texts.
    """

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name

    async def get(self, partition: str, row_key: str) -> Row | None:
        """See `Table.get`."""
        with self._span("get"):
            return await self._table.get(partition, row_key)

    async def scan(
        self,
        partition: str,
        after: str,
        before: str,
        *,
        limit: int,
        where: str = "",
        select: Sequence[str] = (),
    ) -> list[Row]:
        """See `Table.scan`."""
        with self._span("scan"):
            return await self._table.scan(
                partition, after, before, limit=limit, where=where, select=select
            )

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        """See `Table.walk`."""
        with self._span("walk"):
            return await self._table.walk(after, limit=limit, select=select)

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        """See `Table.write`."""
        # in the conventions, a batch has at least two operations
        batch = {BATCH_SIZE: len(changes)} if len(changes) > 1 else {}
        with self._span("write", batch):
            return await self._table.write(partition, changes)

    async def aclose(self) -> None:
        """See `Table.aclose`."""
        await self._table.aclose()

    def _span(
        self, operation: str, more: Attributes | None = None
    ) -> AbstractContextManager[object]:
        if not within_trace():
            return nullcontext()
        attributes: Attributes = {
            DATABASE: TABLE_STORAGE,
            DATABASE_OPERATION: operation,
            COLLECTION: self._name,
            **(more or {}),
        }
        return span(f"{operation} {self._name}", attributes, SpanKind.CLIENT)
