"""What is stored of answers and errors where content is not recorded.

Every document that holds an answer or an error passes here on its way into a row. Ids, token
counts, models and codes stay; what was said, and texts that may quote it, do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

CONTENT_RECORDED = "content_recorded"
"""Member of a stored answer: whether its text was stored with it."""

NOT_RECORDED = "The text of this error is not recorded; RECORD_CONTENT is off."

_SAID = ("content", "parsed", "refusal", "reply")
"""Members of an answer that hold what was said."""


def without_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer's document, such as a turn's, without what was said."""
    emptied = {name: None for name in _SAID if name in answer}
    return {**answer, **emptied, CONTENT_RECORDED: False}


def without_detail(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem document without its texts, which may quote a message or an answer."""
    kept = {name: value for name, value in problem.items() if name != "errors"}
    return {**kept, "detail": NOT_RECORDED}


def without_content(status: int, document: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an HTTP answer without what was said; what holds nothing stays as it is."""
    if status >= HTTPStatus.BAD_REQUEST:
        return without_detail(document)
    has_answer = any(name in document for name in _SAID)
    return without_answer(document) if has_answer else dict(document)
