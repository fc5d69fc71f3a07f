"""Removes content from stored documents, for apps with `RECORD_CONTENT` off.

Every document with an answer or an error is filtered here before it is stored. Ids, token counts,
models and codes are kept; the texts of answers, and texts that may quote them, are removed.

Callbacks and replies still need the texts. So each answer of a job with a callback or reply queue
is held in a separate row, which the transaction that ends the delivery deletes.
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
"""Member of a stored answer: whether its text is stored."""

NOT_RECORDED = "The text of this error is not recorded; RECORD_CONTENT is off."

_TEXTS = ("content", "parsed", "refusal", "reply", "calls")
"""Members of an answer that hold texts of the model."""

_OF_RESPONSES: Mapping[str, Any] = {
    "output": [],
    "instructions": None,
    "tools": [],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
}
"""Members of a response object that hold texts of the caller or the model."""


REQUESTS = "requests"
"""Member of an answer: the tools that wait for their user, with the `arguments` of their calls."""


def without_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an answer, such as a turn's, without its texts."""
    emptied: dict[str, Any] = {name: None for name in _TEXTS if name in answer}
    if REQUESTS in answer:
        emptied[REQUESTS] = [{**each, "arguments": None} for each in answer[REQUESTS]]
    return {**answer, **emptied, CONTENT_RECORDED: False}


def without_texts(response: Mapping[str, Any]) -> dict[str, Any]:
    """A response object of the OpenAI-compatible face without the texts in it."""
    error = response.get("error")
    hidden = error and {**error, "message": NOT_RECORDED}
    return {**response, **_OF_RESPONSES, "error": hidden, CONTENT_RECORDED: False}


def _without_messages(completion: Mapping[str, Any]) -> dict[str, Any]:
    """A completion of the OpenAI-compatible face without its messages."""
    silent = {"role": "assistant", "content": None, "refusal": None}
    choices = [{**choice, "message": silent} for choice in completion["choices"]]
    return {**completion, "choices": choices, CONTENT_RECORDED: False}


def without_detail(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem document without its texts, which may quote a message or an answer."""
    kept = {name: value for name, value in problem.items() if name != "errors"}
    return {**kept, "detail": NOT_RECORDED}


def without_content(status: int, document: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an HTTP answer without the texts of an answer or error, if it has any."""
    if status >= HTTPStatus.BAD_REQUEST:
        return without_detail(document)
    if document.get("object") == "response":
        return without_texts(document)
    if document.get("object") == "chat.completion":
        return _without_messages(document)
    has_answer = any(name in document for name in _TEXTS)
    return without_answer(document) if has_answer else dict(document)


_DOCUMENT = "answer"

MAX_ANSWERS = 50
"""The most messages of a job."""


def hold_answer(job_id: str, number: int, answer: dict[str, Any], now: datetime) -> Change:
    """The change that stores the answer to a job's message until it is delivered."""
    values = {"created_at": now, **document_values(answer, _DOCUMENT)}
    return Change(Operation.UPSERT, answer_key(job_id, number), values)


async def held_answers(table: Table, owner: str, job_id: str) -> dict[int, dict[str, Any]]:
    """The answers of a job that are not delivered yet, by message number."""
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
