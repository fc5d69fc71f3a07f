"""Stand-ins for what lies beyond the app's seams: a table, queues and a clock.

Each keeps the promises of the real thing that the app relies on, refusals included, so that a
test which passes here fails for the same reasons as in Azure.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from shared.config import FoundryAgentServiceConfig
from shared.config.spending import PriceTable
from shared.jobs.queue import Notice
from shared.metering.budgets.budgets import Budgets
from shared.state.errors import (
    RowChangedError,
    RowExistsError,
    RowMissingError,
    StateError,
    StorageUnavailableError,
)
from shared.state.lanes import Clock
from shared.state.table import Change, Operation, Row
from shared.turns.admission import Admission

MAX_TRANSACTION_CHANGES = 100
MAX_PROPERTY_BYTES = 64 * 1024
MAX_KEY_BYTES = 1024
MAX_ROW_BYTES = 1024 * 1024
MAX_PROPERTIES = 252
MAX_COMPARISONS = 15
"""The most that one query's `$filter` may hold."""

_FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_PROPERTY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_CONDITION = re.compile(
    r"(?P<name>\w+) (?:eq '(?P<text>(?:[^']|'')*)'|ge datetime'(?P<since>[^']*)')(?: and |\Z)"
)
_KEY_COMPARISONS = 3

Rows = dict[str, Row]


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeTable:
    """`shared.state.table.Table` in memory, as strict as Table Storage."""

    def __init__(self) -> None:
        self.partitions: dict[str, Rows] = {}
        self.reads = 0
        self.writes = 0
        self.available = True
        self.closed = False
        self._versions = count(1)
        self._before_writes: list[Callable[[], Awaitable[object]]] = []
        self._answers_to_lose = 0

    @property
    def transactions(self) -> int:
        """Requests so far, as the storage account bills them."""
        return self.reads + self.writes

    def reset_counts(self) -> None:
        self.reads = self.writes = 0

    def rows(self, partition: str, prefix: str = "") -> list[Row]:
        """The rows of a partition in order, without counting as a read."""
        kept = self.partitions.get(partition, {})
        return [kept[key] for key in sorted(kept) if key.startswith(prefix)]

    def before_next_write(self, action: Callable[[], Awaitable[object]]) -> None:
        """Let ``action`` happen just before the next write is applied; it may raise instead."""
        self._before_writes.append(action)

    def fail_next_write(self) -> None:
        """Refuse the next write as a service that is down; nothing is applied."""

        async def refuse() -> None:
            raise StorageUnavailableError("The write never arrived.")

        self.before_next_write(refuse)

    def lose_next_answer(self) -> None:
        """Apply the next write, but fail as if its answer never came."""
        self._answers_to_lose += 1

    async def get(self, partition: str, row_key: str) -> Row | None:
        self.reads += 1
        await self._reach()
        _check_key(row_key)
        return self.partitions.get(partition, {}).get(row_key)

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
        self.reads += 1
        await self._reach()
        conditions = _conditions(where)
        matching = [
            row
            for row in self.rows(partition)
            if after < row.row_key < before and all(holds(row.values) for holds in conditions)
        ]
        return [_selected(row, select) if select else row for row in matching[:limit]]

    async def walk(
        self, after: tuple[str, str], *, limit: int, select: Sequence[str]
    ) -> list[tuple[str, Row]]:
        self.reads += 1
        await self._reach()
        found = [
            (partition, _selected(row, select))
            for partition in sorted(self.partitions)
            for row in self.rows(partition)
            if (partition, row.row_key) > after
        ]
        return found[:limit]

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        if self._before_writes:
            await self._before_writes.pop(0)()
        self.writes += 1
        await self._reach()
        rows = self._applied(partition, changes)
        self.partitions[partition] = rows
        if self._answers_to_lose:
            self._answers_to_lose -= 1
            raise StorageUnavailableError("The answer was lost.")
        first = rows.get(changes[0].row_key)
        return first.etag if first else ""

    async def aclose(self) -> None:
        self.closed = True

    async def _reach(self) -> None:
        await asyncio.sleep(0)  # where others may run, as during a request
        if not self.available:
            raise StorageUnavailableError("Table Storage is down.")

    def _applied(self, partition: str, changes: Sequence[Change]) -> Rows:
        """The partition's rows after all changes; raises if any of them cannot be applied."""
        _check_key(partition)
        if not 1 <= len(changes) <= MAX_TRANSACTION_CHANGES:
            raise StateError(f"A transaction cannot have {len(changes)} changes.")
        if len({change.row_key for change in changes}) < len(changes):
            raise StateError("A transaction takes each row only once.")
        rows = dict(self.partitions.get(partition, {}))
        lone = len(changes) == 1
        for change in changes:
            _check_key(change.row_key)
            self._apply(rows, change, lone=lone)
        return rows

    def _apply(self, rows: Rows, change: Change, *, lone: bool) -> None:
        key, action = change.row_key, change.action
        row = rows.get(key)
        if action is Operation.INSERT:
            if row is not None:
                raise RowExistsError(f"{key} exists.")
        elif row is None and action is not Operation.UPSERT:
            if action is Operation.DELETE and lone:
                return  # as azure-data-tables does it
            raise RowMissingError(f"{key} is missing.")
        elif row is not None and change.etag and change.etag != row.etag:
            raise RowChangedError(f"{key} was changed.")
        if action is Operation.DELETE:
            del rows[key]
            return
        values = {name: value for name, value in change.values.items() if value is not None}
        if action is Operation.MERGE and row is not None:
            values = {**row.values, **values}
        _check_values(values)
        rows[key] = Row(key, f'W/"{next(self._versions)}"', values)


def _selected(row: Row, names: Sequence[str]) -> Row:
    return replace(row, values={n: v for n, v in row.values.items() if n in names})


def _check_key(key: str) -> None:
    if _FORBIDDEN_IN_KEYS.search(key) or len(key.encode("utf-16-le")) > MAX_KEY_BYTES:
        raise StateError(f"{key!r} cannot be a key.")


def _check_values(values: Mapping[str, Any]) -> None:
    sizes: list[int] = []
    for name, value in values.items():
        if not _PROPERTY_NAME.fullmatch(name):
            raise StateError(f"{name!r} cannot name a property.")
        size = _size(value)
        if size > MAX_PROPERTY_BYTES:
            raise StateError(f"{name} has {size} bytes.")
        sizes.append(size + 2 * len(name))
    if len(sizes) > MAX_PROPERTIES or sum(sizes) > MAX_ROW_BYTES:
        raise StateError("The row is too large.")


def _size(value: object) -> int:
    match value:
        case str():
            return len(value.encode("utf-16-le", "surrogatepass"))
        case bytes():
            return len(value)
        case bool() | float() | datetime():
            return 8
        case int() if -(2**63) <= value < 2**63:
            return 8
        case _:
            raise StateError(f"A property cannot hold {type(value).__name__}.")


def _conditions(where: str) -> list[Callable[[Mapping[str, Any]], bool]]:
    conditions: list[Callable[[Mapping[str, Any]], bool]] = []
    position = 0
    while position < len(where):
        match = _CONDITION.match(where, position)
        if match is None:
            raise StateError(f"The condition {where[position:]!r} cannot be read.")
        conditions.append(_condition(match))
        position = match.end()
    if len(conditions) + _KEY_COMPARISONS > MAX_COMPARISONS:
        raise StateError("A query has too many comparisons.")
    return conditions


def _condition(match: re.Match[str]) -> Callable[[Mapping[str, Any]], bool]:
    name = match["name"]
    if match["since"] is None:
        text = match["text"].replace("''", "'")
        return lambda values: values.get(name) == text
    moment = datetime.fromisoformat(match["since"])
    return lambda values: name in values and values[name] >= moment


@dataclass(frozen=True)
class SentWakeUp:
    """A message on the lanes queue."""

    owner: str
    lane: str
    delay_seconds: float = 0


class FakeQueues:
    """`shared.jobs.queue.Queues` that remembers what was put."""

    def __init__(self) -> None:
        self.wake_ups: list[SentWakeUp] = []
        self.rejected: list[tuple[str, bytes]] = []
        self.notices: list[tuple[Notice, float]] = []
        self.replies: list[tuple[str, bytes]] = []
        self.available = True
        self.closed = False

    async def wake(self, owner: str, lane: str, delay_seconds: float = 0) -> None:
        self._reach()
        self.wake_ups.append(SentWakeUp(owner, lane, delay_seconds))

    async def reject(self, queue: str, body: bytes) -> None:
        self._reach()
        self.rejected.append((queue, body))

    async def notify(self, notice: Notice, delay_seconds: float = 0) -> None:
        self._reach()
        self.notices.append((notice, delay_seconds))

    async def reply(self, queue: str, body: bytes) -> None:
        self._reach()
        self.replies.append((queue, body))

    async def oldest_seconds(self, queue: str) -> float:
        self._reach()
        return 0.0

    async def count(self, queue: str) -> int:
        self._reach()
        return sum(name + "-poison" == queue for name, _ in self.rejected)

    async def aclose(self) -> None:
        self.closed = True

    def _reach(self) -> None:
        if not self.available:
            raise StorageUnavailableError("Queue Storage is down.")


def unlimited(clock: Clock) -> Admission:
    """Lets every turn begin, and knows no prices."""
    return Admission(Budgets((), FakeTable(), clock), PriceTable(), FoundryAgentServiceConfig())
