"""Where content is not recorded: what is stored of answers and errors, and what is held for a time.

Every document that holds an answer or an error passes here on its way into a row. Ids, token
counts, models and codes stay; what was said, and texts that may quote it, do not.

A job's row then holds no text, but its callback or reply has to. So each answer of a job with a
callback or reply queue has a row of its own, from the transaction that commits it until the one
that ends the delivery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from .json_properties import document_values, read_document
from .keys import AFTER_COLON, ANSWER, answer_key, partition_key
from .table import Change, Operation, Table

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


_DOCUMENT = "answer"

MAX_ANSWERS = 50
"""A job has no more messages."""


def hold_answer(job_id: str, number: int, answer: dict[str, Any], now: datetime) -> Change:
    """The change that keeps the answer to a job's message until it is delivered."""
    values = {"created_at": now, **document_values(answer, _DOCUMENT)}
    return Change(Operation.UPSERT, answer_key(job_id, number), values)


async def held_answers(table: Table, owner: str, job_id: str) -> dict[int, dict[str, Any]]:
    """The answers of a job that wait to be delivered, by number of the message."""
    rows = await table.scan(
        partition_key(owner),
        f"{ANSWER}:{job_id}:",
        f"{ANSWER}:{job_id}{AFTER_COLON}",
        limit=MAX_ANSWERS,
    )
    found = ((row.row_key, read_document(row.values, _DOCUMENT)) for row in rows)
    return {int(key.rpartition(":")[2]): answer for key, answer in found if answer}


def drop_answers(job_id: str, numbers: Iterable[int]) -> list[Change]:
    """The changes that delete held answers."""
    return [Change(Operation.DELETE, answer_key(job_id, number)) for number in numbers]
