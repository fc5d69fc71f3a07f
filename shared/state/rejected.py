"""Queue messages that cannot be run, kept where an operator can find them."""

from __future__ import annotations

from datetime import datetime

from ulid import ULID

from .table import Action, Change, Table

REJECTED_PARTITION = "$rejected"
"""No owner's partition: a dollar sign in an owner's key is escaped."""

REJECTED = "rejected"
"""How the keys of its rows begin."""

EXCERPT_CHARS = 1_000
REASON_CHARS = 4_000
"""A body with many wrong fields has a long list of reasons; a text property holds 32,000."""


async def record_rejected(
    table: Table, *, queue: str, message_id: str, body: str, reason: str, at: datetime
) -> None:
    """Keep a note of a message, by time; the message itself is on the poison queue."""
    values = {
        "queue": queue,
        "message_id": message_id,
        "excerpt": body[:EXCERPT_CHARS],
        "reason": reason[:REASON_CHARS],
        "rejected_at": at,
    }
    change = Change(Action.INSERT, f"{REJECTED}:{ULID()}", values)
    await table.write(REJECTED_PARTITION, [change])
