"""A stream that repeats a request is never silent, and ends as the first request did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from shared.http.answers import Answer, Streamed
from shared.openai.joining import KEEP_ALIVE, joined
from shared.problems import Problem, ProblemError, ProblemKind

QUIET = 0.01
BUSY = Problem(ProblemKind.IDEMPOTENCY_IN_PROGRESS, "It still runs.")


async def _chunks() -> AsyncIterator[bytes]:
    yield b"first"
    yield b"last"


def _failed(problem: Mapping[str, Any]) -> bytes:
    return f"failed: {problem['code']}".encode()


class First:
    """The request that is repeated."""

    def __init__(self, outcome: Answer | Streamed | Exception) -> None:
        self.outcome = outcome
        self.ends = asyncio.Event()
        self.was_cancelled = False

    async def answer(self) -> Answer | Streamed:
        try:
            await self.ends.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "last"),
    [
        (Streamed(_chunks()), [b"first", b"last"]),
        (Answer({"code": "refused"}, 400), [b"failed: refused"]),
        (ProblemError(BUSY), [b"failed: idempotency_in_progress"]),
        (RuntimeError("unexpected"), [b"failed: internal_error"]),
    ],
    ids=["stream", "refusal", "error", "unexpected"],
)
async def test_it_says_that_it_waits_and_then_what_the_first_one_got(
    outcome: Answer | Streamed | Exception, last: list[bytes]
) -> None:
    first = First(outcome)
    answer = await joined(first.answer(), _failed, "req_1", QUIET)
    assert isinstance(answer, Streamed)
    received: list[bytes] = []
    async for chunk in answer.chunks:
        received.append(chunk)
        if received == [KEEP_ALIVE] * 3:
            first.ends.set()
    assert received == [*[KEEP_ALIVE] * (len(received) - len(last)), *last]
    assert len(received) >= 3 + len(last)


async def test_an_answer_that_comes_soon_keeps_its_status() -> None:
    first = First(Answer({"code": "refused"}, 400))
    first.ends.set()
    answer = await joined(first.answer(), _failed, "req_1", 30)
    assert isinstance(answer, Answer)
    assert answer.status == 400
    second = First(ProblemError(BUSY))
    second.ends.set()
    with pytest.raises(ProblemError):
        await joined(second.answer(), _failed, "req_1", 30)


async def test_waiting_ends_when_the_caller_leaves() -> None:
    first = First(Answer({}))
    answer = await joined(first.answer(), _failed, "req_1", QUIET)
    assert isinstance(answer, Streamed)
    chunks = answer.chunks
    assert await anext(chunks) == KEEP_ALIVE
    await chunks.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert first.was_cancelled
    third = First(Answer({}))
    waiting = asyncio.create_task(joined(third.answer(), _failed, "req_1", 30))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert third.was_cancelled
