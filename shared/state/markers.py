"""Markers: an index of the rows that timers check, so that they need not read every row.

A lane is marked before its first job is written and unmarked when the sweeper finds it empty. So
every lane with work is marked, and some without work may be. Jobs with a callback and threads that
expire are marked in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TypeVar

from .errors import RowChangedError, RowMissingError, StorageUnavailableError
from .keys import partition_key
from .row_deletion import delete_if_there, delete_range
from .table import Change, Operation, Row, Table, Value, equals

log = logging.getLogger(__name__)

MARKER_PARTITIONS = 16
"""Several partitions, because one allows about 2,000 writes a second."""

MAX_MARKERS = 10_000
"""The most markers of one partition in one sweep."""

SWEEP_SECONDS = 45.0
"""Less than the minute after which the next sweep begins."""

REFUSED_SECONDS = 1.0
"""Until an action that storage refused is tried again, on average."""

_T = TypeVar("_T")

_LAST = "~"
"""A key that sorts after all keys."""


class Register(StrEnum):
    """The kinds of markers."""

    LANES = "lanes"
    DELIVERIES = "deliveries"
    EXPIRIES = "expiries"


@dataclass(frozen=True, slots=True)
class Marker:
    """A marked lane, job or thread."""

    owner: str
    lane: str
    """The id of the lane, job or thread."""
    marked_at: datetime
    partition: str
    row: Row

    def is_postponed(self, now: datetime) -> bool:
        """Whether it need not be looked at yet."""
        look_at: datetime | None = self.row.values.get("look_at")
        return look_at is not None and now < look_at


async def mark_lane(table: Table, owner: str, lane: str, at: datetime) -> None:
    """Mark a lane for the sweeper."""
    await _mark(table, Register.LANES, owner, lane, at)


async def unmark_lane(table: Table, owner: str, lane: str) -> None:
    """Delete the marker of a lane that is being deleted and gets no more jobs."""
    await delete_if_there(table, _partition(Register.LANES, lane), _row_key(owner, lane))


async def mark_delivery(table: Table, owner: str, job_id: str, at: datetime) -> None:
    """Mark a job whose result is to be delivered."""
    await _mark(table, Register.DELIVERIES, owner, job_id, at)


async def unmark_delivery(table: Table, owner: str, job_id: str) -> None:
    """Delete the marker of a job whose delivery has ended; it is never marked again."""
    change = Change(Operation.DELETE, _row_key(owner, job_id))
    await table.write(_partition(Register.DELIVERIES, job_id), [change])


async def mark_expiry(table: Table, owner: str, thread_id: str, at: datetime) -> None:
    """Mark a thread to be deleted after a moment."""
    await _mark(table, Register.EXPIRIES, owner, thread_id, at, prefix=f"{_moment(at)}|")


async def unmark_expiry(table: Table, owner: str, thread_id: str, at: datetime) -> None:
    """Delete the marker of a thread that was to be deleted at a moment."""
    change = Change(Operation.DELETE, f"{_moment(at)}|{_row_key(owner, thread_id)}")
    await table.write(_partition(Register.EXPIRIES, thread_id), [change])


async def _mark(
    table: Table, register: Register, owner: str, subject: str, at: datetime, *, prefix: str = ""
) -> None:
    values: dict[str, Value] = {"owner": owner, "lane": subject, "marked_at": at}
    change = Change(Operation.UPSERT, prefix + _row_key(owner, subject), values)
    await table.write(_partition(register, subject), [change])


async def sweep_markers(
    table: Table,
    register: Register,
    look: Callable[[Marker], Awaitable[bool]],
    *,
    at_once: int,
    due: datetime | None = None,
    limit: int = MAX_MARKERS,
) -> int:
    """Call ``look`` for the markers of a register; returns for how many it returned True.

    What storage refuses for its rate is tried again after a pause, which slows the sweep down;
    after `SWEEP_SECONDS`, it is left to the next sweep. The partitions come in random order, so
    that no lane waits for others in every sweep.

    Args:
        table: The table of the markers.
        register: The kind of markers.
        look: Handles the subject of a marker; returns whether to count it.
        at_once: How many calls run concurrently.
        due: Of expiries, only those until this moment.
        limit: The most markers of one partition, oldest first.
    """
    slots, done = asyncio.Semaphore(at_once), 0
    until = asyncio.get_running_loop().time() + SWEEP_SECONDS

    async def look_in_turn(marker: Marker) -> bool:
        async with slots:
            return bool(await _unrefused(partial(look, marker), until))

    before = _moment(due) if due else _LAST
    for number in random.sample(range(MARKER_PARTITIONS), MARKER_PARTITIONS):
        read = partial(markers_of, table, register, number, before=before, limit=limit)
        markers = await _unrefused(read, until) or []
        done += sum(await asyncio.gather(*map(look_in_turn, markers)))
    return done


async def _unrefused(act: Callable[[], Awaitable[_T]], until: float) -> _T | None:
    """The result of an action that storage does not refuse for its rate; None if it always does."""
    while True:
        try:
            return await act()
        except StorageUnavailableError as error:
            if not error.is_refusal:
                raise
        if asyncio.get_running_loop().time() > until:
            return None
        await asyncio.sleep(REFUSED_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter


async def markers_of(
    table: Table, register: Register, number: int, *, before: str = _LAST, limit: int = MAX_MARKERS
) -> list[Marker]:
    """The markers of a register in partition ``number``, up to a key."""
    partition = _numbered(register, number)
    rows = await table.scan(partition, "!", before, limit=limit)
    return [
        Marker(row.values["owner"], row.values["lane"], row.values["marked_at"], partition, row)
        for row in rows
    ]


async def forget_markers(table: Table, owner: str, before: datetime) -> None:
    """Delete all markers of an owner that were made up to a moment."""

    def is_new(row: Row) -> bool:
        return row.values["marked_at"] > before

    for register in Register:
        for number in range(MARKER_PARTITIONS):
            partition = _numbered(register, number)
            await delete_range(table, partition, "", where=equals("owner", owner), keep=is_new)


async def forget_marker(table: Table, marker: Marker) -> None:
    """Delete a marker, unless its subject was marked again or the marker is gone."""
    try:
        await unmark(table, marker)
    except (RowChangedError, RowMissingError):
        log.debug("%s was marked again or unmarked already", marker.lane)


async def postpone(table: Table, marker: Marker, until: datetime) -> None:
    """Let sweeps pass over a marker until a moment, unless its subject is marked again."""
    change = Change(Operation.MERGE, marker.row.row_key, {"look_at": until}, marker.row.etag)
    try:
        await table.write(marker.partition, [change])
    except (RowChangedError, RowMissingError):
        log.debug("%s was marked again or unmarked already", marker.lane)


async def unmark(table: Table, marker: Marker) -> None:
    """Delete a marker, unless its subject was marked again meanwhile.

    Raises:
        RowChangedError: if it was marked again.
    """
    change = Change(Operation.DELETE, marker.row.row_key, etag=marker.row.etag)
    await table.write(marker.partition, [change])


def _partition(register: Register, subject: str) -> str:
    return _numbered(register, zlib.crc32(subject.encode()) % MARKER_PARTITIONS)


def _numbered(register: Register, number: int) -> str:
    return f"${register}-{number}"


def _row_key(owner: str, subject: str) -> str:
    return f"{partition_key(owner)}|{subject}"


def _moment(at: datetime) -> str:
    """A moment as text for keys, which sorts by time."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
