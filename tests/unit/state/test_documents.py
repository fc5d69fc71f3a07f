"""Documents in rows: whole again at every size, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.state.errors import DocumentTooLargeError
from shared.state.json_properties import (
    CHUNK_BYTES,
    MAX_DOCUMENT_BYTES,
    document_values,
    read_document,
)
from shared.state.table import Change, Operation
from tests.support.fakes import FakeTable

OVERHEAD = len('{"t":""}')


def sized(size: int, letter: str = "a") -> dict[str, Any]:
    """A document whose JSON has ``size`` bytes."""
    return {"t": letter * ((size - OVERHEAD) // len(letter.encode()))}


@pytest.mark.parametrize(
    ("size", "properties"),
    [
        (OVERHEAD, 1),
        (CHUNK_BYTES - 1, 1),
        (CHUNK_BYTES, 1),
        (CHUNK_BYTES + 1, 2),
        (2 * CHUNK_BYTES, 2),
        (MAX_DOCUMENT_BYTES - 1, 12),
        (MAX_DOCUMENT_BYTES, 12),
    ],
)
async def test_a_document_is_whole_again_at_the_edges(size: int, properties: int) -> None:
    document, table = sized(size), FakeTable()
    values = document_values(document, "work")
    assert len(values) == properties
    await table.write("p", [Change(Operation.INSERT, "k", {"other": 1, **values})])
    row = await table.get("p", "k")
    assert row is not None
    assert read_document(row.values, "work") == document


def test_a_character_may_lie_across_two_chunks() -> None:
    for shift in range(4):
        document = {"s": "x" * shift, "t": "🙂" * 40_000}
        assert read_document(document_values(document, "d"), "d") == document


def test_one_byte_too_many_is_refused() -> None:
    with pytest.raises(DocumentTooLargeError, match=r"720001 bytes.*720000"):
        document_values(sized(MAX_DOCUMENT_BYTES + 1), "work")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_any_document_survives(document: dict[str, Any]) -> None:
    assert read_document(document_values(document, "d"), "d") == document


def test_documents_of_other_names_are_not_mixed_up() -> None:
    values = document_values({"a": 1}, "result_1") | document_values({"b": 2}, "result_10")
    assert read_document(values, "result_1") == {"a": 1}
    assert read_document(values, "result_10") == {"b": 2}
    assert read_document(values, "result") is None
    assert read_document({}, "result_1") is None


def test_it_is_plain_utf8_json() -> None:
    value = document_values({"ä": 1}, "d")["d_0"]
    assert isinstance(value, bytes)
    assert json.loads(value) == {"ä": 1}
