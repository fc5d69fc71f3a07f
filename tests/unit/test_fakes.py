"""The fake table keeps the promises that tests rest on."""

from __future__ import annotations

import pytest

from shared.state.errors import RowChangedError, RowMissingError, StateError
from shared.state.table import Change, Operation, equals
from tests.support.fakes import FakeTable


async def test_a_transaction_is_all_or_nothing() -> None:
    table = FakeTable()
    await table.write("p", [Change(Operation.INSERT, "a", {"n": 1})])
    with pytest.raises(RowMissingError):
        await table.write(
            "p", [Change(Operation.MERGE, "a", {"n": 2}), Change(Operation.DELETE, "missing")]
        )
    assert [row.values for row in table.rows("p")] == [{"n": 1}]


async def test_a_condition_holds_only_for_the_version_it_names() -> None:
    table = FakeTable()
    old = await table.write("p", [Change(Operation.INSERT, "a", {"n": 1, "kept": 1})])
    new = await table.write("p", [Change(Operation.MERGE, "a", {"n": 2}, old)])
    for action in (Operation.MERGE, Operation.REPLACE, Operation.DELETE):
        with pytest.raises(RowChangedError):
            await table.write("p", [Change(action, "a", {}, old)])
    assert table.rows("p")[0].values == {"n": 2, "kept": 1}
    await table.write("p", [Change(Operation.REPLACE, "a", {"n": 3}, new)])
    assert table.rows("p")[0].values == {"n": 3}


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [Change(Operation.INSERT, "a"), Change(Operation.DELETE, "a")],
        [Change(Operation.INSERT, str(n)) for n in range(101)],
        [Change(Operation.INSERT, "a/b")],
        [Change(Operation.INSERT, "a\n")],
        [Change(Operation.INSERT, "a" * 513)],
        [Change(Operation.INSERT, "a", {"text": "x" * 32_769})],
        [Change(Operation.INSERT, "a", {"data": b"x" * 65_537})],
        [Change(Operation.INSERT, "a", {f"n{n}": b"x" * 60_000 for n in range(18)})],
        [Change(Operation.INSERT, "a", {f"n{n}": 1 for n in range(253)})],
        [Change(Operation.INSERT, "a", {"a-b": 1})],
    ],
)
async def test_what_the_service_refuses_is_refused(changes: list[Change]) -> None:
    table = FakeTable()
    with pytest.raises(StateError):
        await table.write("p", changes)
    assert table.rows("p") == []


async def test_a_scan_filters_in_order() -> None:
    table = FakeTable()
    for key, text in (("c", "x"), ("a", "x"), ("b", "it's and more"), ("d", "x")):
        await table.write("p", [Change(Operation.INSERT, key, {"t": text})])

    async def keys(where: str = "", limit: int = 9) -> list[str]:
        rows = await table.scan("p", "a", "d", limit=limit, where=where)
        return [row.row_key for row in rows]

    assert await keys() == ["b", "c"]
    assert await keys(limit=1) == ["b"]
    assert await keys(equals("t", "it's and more")) == ["b"]
    assert await keys(f"{equals('t', 'x')} and {equals('t', 'y')}") == []
    with pytest.raises(StateError):
        await keys("t eq 'x' or t eq 'y'")
