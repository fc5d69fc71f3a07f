"""Text that UTF-8 cannot hold, made clean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.text import clean, clean_json, clean_text, parse_json, to_json_bytes, to_utf8

texts = st.text(st.characters(codec=None))
values = st.recursive(
    texts | st.none() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(texts)
def test_clean_text_has_a_form_in_utf_8_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.encode().decode() == cleaned == clean_text(cleaned)
    assert to_utf8(text) == cleaned.encode()


@given(values)
@example({"\ud800": ["\udfff", {"\ude00": "a"}]})
def test_json_is_written_with_clean_text(value: Any) -> None:
    assert json.loads(to_json_bytes(value)) == clean(value)
    json.dumps(clean(value), ensure_ascii=False).encode()


def test_json_of_any_depth_and_of_plain_values_only_is_written() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    assert json.loads(to_json_bytes(deep)) == deep
    assert to_json_bytes({"a": [1.5, True, None, "\u00e9\u2028"]}) == (
        b'{"a":[1.5,true,null,"\xc3\xa9\xe2\x80\xa8"]}'
    )


@given(values)
@example({"\ud800": ["\udfff", {"\ude00": "a"}]})
def test_json_is_read_with_clean_text(value: Any) -> None:
    json.dumps(parse_json(json.dumps(value)), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("content", "cleaned"),
    [
        (rb'"\ud83d"', b'"?"'),
        (rb'"\uD83D\uDE00"', rb'"\uD83D\uDE00"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (b"\xef\xbb\xbf{}", b"{}"),
        (b"{}", b"{}"),
    ],
)
def test_json_stays_as_it_is_but_for_halves_and_marks(content: bytes, cleaned: bytes) -> None:
    assert clean_json(content) == cleaned
