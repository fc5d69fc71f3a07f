"""Changes of several callers in one transaction: how many, when, and whose errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from shared.state.errors import RowExistsError, StorageUnavailableError
from shared.state.group_commit import MAX_CALLERS, GroupCommit
from shared.state.table import Change, Operation
from tests.support.fakes import FakeTable

P = "owner"


def insert(key: str, text: str = "") -> Change:
    return Change(Operation.INSERT, key, {"text": text})


class SlowTable(FakeTable):
    """A table whose writes end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.open = asyncio.Event()

    async def write(self, partition: str, changes: Sequence[Change]) -> str:
        self.sizes.append(len(changes))
        await self.open.wait()
        return await super().write(partition, changes)


async def outcomes(*writes: Any) -> list[str]:
    """The names of the errors of writes that run at once; empty for those without."""
    results = await asyncio.gather(*writes, return_exceptions=True)
    return [type(each).__name__ if each else "" for each in results]


async def test_one_caller_writes_at_once_and_alone() -> None:
    table = FakeTable()
    commits = GroupCommit(table)
    for number in range(3):
        await commits.write(P, [insert(f"a{number}")])
    assert table.writes == 3


async def test_callers_that_wait_for_a_write_share_the_next_one() -> None:
    table = SlowTable()
    commits = GroupCommit(table)
    writes = asyncio.gather(
        *(commits.write(P, [insert(f"a{n}"), insert(f"b{n}")]) for n in range(9))
    )
    while len(table.sizes) < 2:  # the others wait 5 ms at most, even if the first never ends
        await asyncio.sleep(0.001)
    table.open.set()
    await writes
    assert table.sizes == [2, 16]
    assert len(table.rows(P)) == 18


async def test_partitions_do_not_wait_for_each_other() -> None:
    table = SlowTable()
    commits = GroupCommit(table)
    writes = asyncio.gather(*(commits.write(f"p{n}", [insert("a")]) for n in range(3)))
    await asyncio.sleep(0)
    assert table.sizes == [1, 1, 1]
    table.open.set()
    await writes


async def test_a_transaction_takes_no_more_rows_and_callers_than_fit() -> None:
    table = SlowTable()
    table.open.set()
    commits = GroupCommit(table)
    many = [commits.write(P, [insert(f"{n}-{k}") for k in range(30)]) for n in range(8)]
    await asyncio.gather(*many)
    assert table.sizes == [30, 90, 90, 30]
    table.sizes.clear()
    await asyncio.gather(*(commits.write("q", [insert(f"{n}")]) for n in range(25)))
    assert table.sizes == [1, MAX_CALLERS, MAX_CALLERS, 4]


async def test_a_caller_whose_changes_are_refused_fails_alone() -> None:
    table = FakeTable()
    commits = GroupCommit(table)
    await commits.write(P, [insert("b")])
    names = await outcomes(*(commits.write(P, [insert(key), insert(f"{key}2")]) for key in "abcd"))
    assert names == ["", RowExistsError.__name__, "", ""]
    assert [row.row_key for row in table.rows(P)] == ["a", "a2", "b", "c", "c2", "d", "d2"]


async def test_two_callers_that_write_one_row_are_told_apart() -> None:
    commits = GroupCommit(FakeTable())
    names = await outcomes(*(commits.write(P, [insert(key)]) for key in "abbc"))
    assert sorted(names) == ["", "", "", RowExistsError.__name__]


async def test_no_transaction_has_a_row_twice() -> None:
    table = SlowTable()
    table.open.set()
    commits = GroupCommit(table)
    await asyncio.gather(*(commits.write(P, [Change(Operation.UPSERT, key)]) for key in "abcbd"))
    assert table.sizes == [1, 2, 2]


async def test_an_outage_is_reported_to_all_without_more_requests() -> None:
    table = FakeTable()
    table.available = False
    names = await outcomes(*(GroupCommit(table).write(P, [insert(key)]) for key in "a"))
    commits = GroupCommit(table)
    names += await outcomes(*(commits.write(P, [insert(key)]) for key in "abcd"))
    assert set(names) == {StorageUnavailableError.__name__}
    assert table.writes == 1 + 2


async def test_a_caller_that_leaves_stops_no_other() -> None:
    table = SlowTable()
    commits = GroupCommit(table)
    tasks = [asyncio.create_task(commits.write(P, [insert(key)])) for key in "abc"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    table.open.set()
    await tasks[2]
    assert "c" in {row.row_key for row in table.rows(P)}
    await commits.write(P, [insert("d")])


async def test_an_unexpected_error_leaves_no_caller_waiting() -> None:
    class Broken(FakeTable):
        async def write(self, partition: str, changes: Sequence[Change]) -> str:
            await asyncio.sleep(0)
            raise ZeroDivisionError

    commits = GroupCommit(Broken())
    async with asyncio.timeout(5):
        names = await outcomes(*(commits.write(P, [insert(key)]) for key in "abc"))
    assert set(names) == {"ZeroDivisionError"}


async def test_what_is_written_for_many_has_the_trace_and_log_ids_of_none() -> None:
    current: ContextVar[str] = ContextVar("current", default="")
    seen: list[str] = []

    class Watched(FakeTable):
        async def write(self, partition: str, changes: Sequence[Change]) -> str:
            seen.append(current.get())
            return await super().write(partition, changes)

    commits = GroupCommit(Watched())

    async def ask(name: str) -> None:
        current.set(name)
        await commits.write(P, [insert(name)])

    await asyncio.gather(*map(ask, "abc"))
    assert seen == ["a", ""]


async def test_partitions_without_writes_are_forgotten() -> None:
    commits = GroupCommit(FakeTable())
    await asyncio.gather(*(commits.write(f"p{n % 7}", [insert(f"{n}")]) for n in range(50)))
    with pytest.raises(RowExistsError):
        await commits.write("p0", [insert("0")])
    assert commits._partitions == {}
