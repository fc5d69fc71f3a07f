"""Errors as OpenAI's clients read them: which are repeated, and which are for people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.http.answers import Answer
from shared.http.faces import Refusal
from shared.openai.errors import OPENAI


def refused(status: int, code: str, **more: Any) -> tuple[int, str, str]:
    """The status, code and `x-should-retry` of a problem."""
    problem = {"status": status, "code": code, "detail": "No.", **more}
    answer = OPENAI.refuse(Refusal(Answer(problem, status), may_have_run=False))
    code = json.loads(answer.content or b"")["error"]["code"]
    return int(answer.status), code, answer.headers["x-should-retry"]


@pytest.mark.parametrize(
    ("status", "of", "per", "expected"),
    [
        (402, "tokens", "month", (429, "insufficient_quota", "false")),
        (429, "requests", "month", (429, "insufficient_quota", "false")),
        (429, "requests", "day", (429, "insufficient_quota", "false")),
        (429, "requests", "minute", (429, "rate_limit_exceeded", "true")),
        (429, "concurrent", None, (429, "rate_limit_exceeded", "true")),
    ],
)
def test_only_a_budget_that_soon_resets_is_asked_again(
    status: int, of: str, per: str | None, expected: tuple[int, str, str]
) -> None:
    assert refused(status, "budget_exhausted", budget={"of": of, "per": per}) == expected
