"""Answers that wait to be delivered, where content is not recorded.

A job's row then holds no text, but its callback or reply has to. So each answer of a job with a
callback or reply queue has a row of its own, from the transaction that commits it until the one
that ends the delivery.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .json_properties import document_values, read_document
from .keys import AFTER_COLON, ANSWER, answer_key, partition_key
from .table import Change, Operation, Table

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
