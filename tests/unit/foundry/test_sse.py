"""Events come out whole however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.foundry.errors import ProtocolError
from shared.foundry.sse import MAX_FRAME_BYTES, SseParser

LINE_ENDS = [b"\n", b"\r", b"\r\n"]
LINES = [
    b": a comment",
    b"event: message.delta",
    'data: {"text":"Grüß dich 🙂"}'.encode(),
    b"",
    b"id: 7",
    b"data: first",
    b"data:second",
    b"data:  third",
    b"",
    b"retry: 5",
    b"",
    b"data:",
    b"",
    b"data: [DONE]",
    b"",
]
EXPECTED = ['{"text":"Grüß dich 🙂"}', "first\nsecond\n third", "", "[DONE]"]


def parse(*chunks: bytes) -> list[str]:
    parser = SseParser()
    return [data for chunk in chunks for data in parser.feed(chunk)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", LINE_ENDS, ids=["LF", "CR", "CRLF"])
def test_a_stream_may_be_split_at_every_byte(end: bytes, mark: bytes) -> None:
    stream = mark + b"".join(line + end for line in LINES)
    assert parse(stream) == EXPECTED
    assert parse(*(stream[n : n + 1] for n in range(len(stream)))) == EXPECTED
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == EXPECTED


@given(st.lists(st.sampled_from(LINE_ENDS), min_size=len(LINES), max_size=len(LINES)), st.data())
def test_line_ends_may_be_mixed(ends: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + end for line, end in zip(LINES, ends, strict=True))
    ambiguous = any(
        first == b"\r" and not line and second.startswith(b"\n")
        for first, line, second in zip(ends, LINES[1:], ends[1:], strict=False)
    )
    if ambiguous:  # a CR, then an empty line ended by LF, reads as one CRLF
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *cuts, len(stream)]
    chunks = (stream[a:b] for a, b in pairwise(edges))
    assert parse(*chunks) == EXPECTED


def test_an_event_comes_as_soon_as_it_is_complete() -> None:
    parser = SseParser()
    assert list(parser.feed(b"data: x\n")) == []
    assert list(parser.feed(b"\n")) == ["x"]
    assert list(parser.feed(b"data: y\r\n\r\n")) == ["y"]
    assert list(parser.feed(b"data: z\r\r")) == ["z"]


def test_what_is_not_ended_is_no_event() -> None:
    assert parse(b"data: x\n") == []
    assert parse(b"data: x") == []
    assert parse(b"\n\n\n") == []


def test_comments_and_other_fields_are_no_events() -> None:
    assert parse(b": keep-alive\n\n", b"event: x\n\n", b"dat: x\n\n", b"database: x\n\n") == []


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    assert parse(b"data: x\n\n\xef\xbb\xbfdata: y\n\ndata: z\n\n") == ["x", "z"]


def test_bytes_that_are_no_text_do_not_break_the_stream() -> None:
    assert parse(b"data: \xff\n\ndata: y\n\n") == ["\ufffd", "y"]


MEBIBYTE = b"x" * 1024 * 1024


def test_an_event_may_be_large() -> None:
    chunks = [b"data: ", *[MEBIBYTE] * 8, b"\n\n"]
    assert [len(data) for data in parse(*chunks)] == [8 * len(MEBIBYTE)]


@pytest.mark.parametrize(
    "piece", [MEBIBYTE, b"data: " + MEBIBYTE + b"\n"], ids=["one line", "many lines"]
)
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    pieces = [piece] * (MAX_FRAME_BYTES // len(MEBIBYTE) + 1)
    with pytest.raises(ProtocolError, match=str(MAX_FRAME_BYTES)):
        parse(*pieces)


def test_many_events_are_no_large_event() -> None:
    parser = SseParser()
    for _ in range(MAX_FRAME_BYTES // len(MEBIBYTE) + 1):
        assert len(list(parser.feed(b"data: " + MEBIBYTE + b"\n\n"))) == 1


def test_a_large_frame_in_small_pieces_takes_no_longer_than_it_must() -> None:
    parser, piece = SseParser(), b"x" * 1024
    started = process_time()
    frames = [*parser.feed(b"data: ")]
    for _ in range(4 * 1024):
        frames += parser.feed(piece)
    frames += parser.feed(b"\n\n")
    assert [len(frame) for frame in frames] == [4 * 1024 * 1024]
    assert process_time() - started < 2.0  # joined anew for each piece, it took more than a minute
