"""Parts of the command line on their own: streams, text for terminals, tables, plots."""

import io
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.api import Event, events, part
from cli.errors import UsageError
from cli.output import Column, Format, Output, at, text_of
from cli.terminal_text import escaped_json, one_line, printable

EVENTS = [
    Event("message.delta", {"text": "a\u2028b\x85c\u0085"}),
    Event("turn.completed", {"content": "\U0001f600 done", "n": 1}),
]
WIRE = b": comment\r\n\r\n" + b"".join(
    f"event: {e.name}\r\ndata: {json.dumps(e.data, ensure_ascii=False)}\r\n\r\n".encode()
    for e in EVENTS
)


@given(st.lists(st.integers(0, len(WIRE)), max_size=20))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    ends = sorted({0, *cuts, len(WIRE)})
    chunks = [WIRE[a:b] for a, b in itertools.pairwise(ends)]
    assert list(events(iter(chunks))) == EVENTS


@given(st.text())
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    shown = printable(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) <= 0x9F for c in shown)
    assert "\n" not in one_line(text)
    assert printable(shown) == shown


@given(st.recursive(st.text() | st.integers(), st.lists, max_leaves=5))
def test_escaped_json_means_the_same(value: object) -> None:
    escaped = escaped_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(escaped) == value
    assert printable(escaped) == escaped


def test_text_without_controls_is_left_alone() -> None:
    text = "Grüße, 日本語 \U0001f468\u200d\U0001f469\u200d\U0001f467 naïve\tx\n"
    assert printable(text) == text


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1"])
def test_no_cell_of_csv_is_run_as_a_formula(start: str) -> None:
    out = io.StringIO()
    Output(Format.CSV, out, io.StringIO()).items([{"a": start}, {"a": 1}], [at("a")])
    assert "'" + start in out.getvalue()
    assert out.getvalue().endswith("\n1\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ({}, "-"),
        (0, "0"),
        (0.0, "0"),
        (1234567, "1,234,567"),
        (0.000012, "1.2e-05"),
        (True, "yes"),
        ([1, "a"], "1, a"),
        ({"a": None}, "a=-"),
        ("a\nb", "a b"),
    ],
)
def test_values_as_people_read_them(value: object, shown: str) -> None:
    assert text_of(value) == shown


def test_a_table_that_does_not_fit_has_its_objects_below_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = [at("id"), Column("text", lambda item: item["text"])]
    items = [{"id": "thread_" + "x" * 26, "text": "word " * 5} for _ in range(2)]
    for width, lines in (("100", 4), ("40", 5)):
        monkeypatch.setenv("COLUMNS", width)
        out = io.StringIO()
        Output(Format.TABLE, out, io.StringIO()).items(items, columns)
        assert len(out.getvalue().splitlines()) == lines
        assert out.getvalue().count("x" * 26) == 2


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_an_id_leads_to_no_other_address(text: str) -> None:
    with pytest.raises(UsageError, match="missing"):
        part(text)
    assert part("../keys?owner=x#y") == "..%2Fkeys%3Fowner%3Dx%23y"
