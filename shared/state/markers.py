"""Markers: which lanes may have work, for the sweeper to find without reading every row.

A lane is marked before its first job is written and unmarked when the sweeper finds it empty, so
a lane with work is always marked; one without may be.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime

from .keys import partition_key
from .table import Action, Change, Row, Table, Value

MARKER_PARTITIONS = 16
"""Spread over several partitions, because one takes about 2,000 writes a second."""

MAX_MARKERS = 10_000
"""Of one partition in one sweep."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A lane that may have work."""

    owner: str
    lane: str
    marked_at: datetime
    partition: str
    row: Row


async def mark_lane(table: Table, owner: str, lane: str, at: datetime) -> None:
    """Make the sweeper look at a lane from now on."""
    values: dict[str, Value] = {"owner": owner, "lane": lane, "marked_at": at}
    change = Change(Action.UPSERT, _row_key(owner, lane), values)
    await table.write(_partition(lane), [change])


async def marked_lanes(table: Table, number: int) -> list[Marker]:
    """The marked lanes of partition ``number``."""
    partition = f"$lanes-{number}"
    rows = await table.scan(partition, "!", "~", limit=MAX_MARKERS)
    return [
        Marker(row.values["owner"], row.values["lane"], row.values["marked_at"], partition, row)
        for row in rows
    ]


async def unmark(table: Table, marker: Marker) -> None:
    """Remove a marker, unless the lane was marked anew meanwhile.

    Raises:
        RowChangedError: if it was.
    """
    change = Change(Action.DELETE, marker.row.row_key, etag=marker.row.etag)
    await table.write(marker.partition, [change])


def _partition(lane: str) -> str:
    return f"$lanes-{zlib.crc32(lane.encode()) % MARKER_PARTITIONS}"


def _row_key(owner: str, lane: str) -> str:
    return f"{partition_key(owner)}|{lane}"
