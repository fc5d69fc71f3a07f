"""The record of a turn: whole, but never too large for a row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.state.keys import turn_key
from shared.state.turns import MAX_TEXT_CHARS, TurnMode, TurnRecord, TurnStatus
from tests.support.fakes import FakeTable

OWNER = "o"


def record(**fields: Any) -> TurnRecord:
    given: dict[str, Any] = {"thread_id": None, "job_id": None, **fields}
    return TurnRecord(
        turn_id="turn_1",
        owner=OWNER,
        mode=TurnMode.SYNC,
        status=TurnStatus.SUCCEEDED,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        latency=0.5,
        domain="general",
        model="m",
        **given,
    )


async def kept(turn: TurnRecord) -> dict[str, Any]:
    table = FakeTable()
    await table.write(OWNER, [turn.insert()])
    row = await table.get(OWNER, turn_key(turn.thread_id, turn.turn_id))
    assert row is not None
    return dict(row.values)


async def test_what_is_known_is_kept_and_nothing_else() -> None:
    assert await kept(record()) == {
        "mode": "sync",
        "status": "succeeded",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "latency": 0.5,
        "domain": "general",
        "model": "m",
    }


async def test_a_turn_is_kept_whole() -> None:
    values = await kept(
        record(
            thread_id="thread_1",
            question="Q",
            answer="A",
            tools_used=("a", "b"),
            usage={"input_tokens": 0, "total_tokens": 5},
            metadata={"ä": "ö"},
        )
    )
    assert (values["question"], values["answer"]) == ("Q", "A")
    assert values["tools_used"] == '["a", "b"]'
    assert values["metadata"] == '{"ä": "ö"}'
    assert (values["input_tokens"], values["total_tokens"]) == (0, 5)
    assert "output_tokens" not in values


@pytest.mark.parametrize("letter", ["a", "ä", "漢", "🙂", "a🙂"])
async def test_the_longest_texts_fit_and_are_cut_cleanly(letter: str) -> None:
    text = letter * (1024 * 1024 // len(letter))
    values = await kept(record(question=text, answer=text, error=text))
    for name in ("question", "answer", "error"):
        units = len(values[name].encode("utf-16-le")) // 2
        assert MAX_TEXT_CHARS - 1 <= units <= MAX_TEXT_CHARS
        assert text.startswith(values[name])


async def test_short_texts_are_not_cut() -> None:
    for text in ("🙂" * (MAX_TEXT_CHARS // 2), "a" * MAX_TEXT_CHARS, ""):
        assert (await kept(record(answer=text)))["answer"] == text


@pytest.mark.parametrize("letter", ["a", "漢", "🙂"])
async def test_the_longest_metadata_of_any_language_fits(letter: str) -> None:
    metadata = {f"{n:02}{letter * 62}": letter * 512 for n in range(16)}
    assert "metadata" in await kept(record(metadata=metadata))
