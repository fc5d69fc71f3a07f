"""One table, as the rest of the package sees it: read a row, read a range, write together.

The `Table` protocol is the seam that tests plug into; `azure_table` implements it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = str | int | float | bool | bytes | datetime
"""What a property can hold; int is 64 bits."""


class Action(StrEnum):
    """What a change does to its row."""

    INSERT = "insert"
    UPSERT = "upsert"
    """Insert the row, or replace it whatever its version."""
    REPLACE = "replace"
    MERGE = "merge"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one row. With ``etag``, only if the row still is that version."""

    action: Action
    row_key: str
    values: Mapping[str, Value | None] = field(default_factory=dict[str, Value | None])
    """Properties to write; None leaves a property out."""
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read."""

    row_key: str
    etag: str
    values: Mapping[str, Any]


class Table(Protocol):
    """Rows by partition and key."""

    async def get(self, partition: str, row_key: str) -> Row | None:
        """The row, or None."""
        ...

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
        """Up to ``limit`` rows with ``after`` < key < ``before``, in key order.

        ``where`` is a further OData condition, written with `equals` or `since`; with ``select``,
        rows have these properties only.
        """
        ...

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        """Up to ``limit`` rows of any partition behind a place, each with its partition.

        Fewer mean that the end is reached. A place is a partition and a row key; rows come in the
        order of both, with the properties in ``select`` only.
        """
        ...

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        """Apply all changes or none; returns the new ETag of the first change's row.

        Raises:
            RowExistsError, RowChangedError, RowMissingError: naming what stood in the way.
            StorageUnavailableError: if the service cannot do it now.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def since(name: str, moment: datetime) -> str:
    """An OData condition that a property is a moment, or later."""
    return f"{name} ge datetime'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z'"


def equals(name: str, value: str) -> str:
    """An OData condition that a text property has a value, safe for any value."""
    quoted = value.replace("'", "''")
    return f"{name} eq '{quoted}'"
