"""The interface of a table: read a row, read a range, write rows in a transaction.

The `Table` protocol is the seam that tests plug into; `azure_table` implements it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from .errors import StateError

Value: TypeAlias = str | int | float | bool | bytes | datetime
"""The types of a property; `is_storable` has the limits of their values."""

EARLIEST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MOMENT = datetime(9999, 1, 1, tzinfo=UTC)
"""Table Storage refuses years before 1601, and Python has no years after 9999 in any time zone; the
app needs none outside these limits."""

MAX_INTEGER = 2**63 - 1


class Operation(StrEnum):
    """The operation of a change on its row."""

    INSERT = "insert"
    UPSERT = "upsert"
    """Insert the row, or replace any version of it."""
    REPLACE = "replace"
    MERGE = "merge"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one row. With ``etag``, only if the row still has that version."""

    action: Operation
    row_key: str
    values: Mapping[str, Value | None] = field(default_factory=dict[str, Value | None])
    """Properties to write; None leaves a property out."""
    etag: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that the service would refuse, or that could not be read again.

        Raises:
            StateError: naming the invalid property.
        """
        for name, value in self.values.items():
            if not is_storable(value):
                raise StateError(f"{name} of {self.row_key} cannot be stored: {value!r}")


def is_storable(value: Value | None) -> bool:
    """Whether a property can hold a value; a datetime needs a time zone, an integer 64 bits."""
    if isinstance(value, datetime):
        return value.tzinfo is not None and EARLIEST_MOMENT <= value < LATEST_MOMENT
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER
    return True


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
        rows have only these properties.
        """
        ...

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        """Up to ``limit`` rows of all partitions after a position, each with its partition.

        Fewer rows mean the end of the table. A position is a partition and a row key; rows are
        ordered by both and have only the properties in ``select``.
        """
        ...

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        """Apply all changes or none; returns the new ETag of the first change's row.

        Raises:
            RowExistsError, RowChangedError, RowMissingError: if a row is not as expected.
            StorageUnavailableError: if the service is unavailable.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def since(name: str, moment: datetime) -> str:
    """An OData condition: a property is a moment or later."""
    return f"{name} ge datetime'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z'"


def equals(name: str, value: str) -> str:
    """An OData condition: a text property has a value, which is escaped."""
    quoted = value.replace("'", "''")
    return f"{name} eq '{quoted}'"
