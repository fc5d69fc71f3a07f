"""Stores queue messages that are not valid jobs, for operators to inspect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ulid import ULID

from .keys import REJECTED
from .table import Change, Operation, Table, Value

REJECTED_PARTITION = "$rejected"
"""Not the partition of any owner, because a dollar sign in an owner's key is escaped."""

MAX_BODY_BYTES = 64 * 1024
"""The size of a property, which is also the largest queue message."""

EXCERPT_CHARS = 1_000
"""The start of the body as text, beside the whole body."""

REASON_CHARS = 4_000
"""A body with many invalid fields has many reasons; a text property holds 32,000 characters."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected message and the reason."""

    ulid: ULID
    """The ULID of the message, so that one rejected twice is stored once."""
    queue: str
    message_id: str
    body: bytes
    reason: str
    at: datetime
    owner: str | None = None
    """The owner that the message names, if any."""
    record_content: bool = True
    """Whether the message itself is stored."""


async def record_rejected(table: Table, rejected: Rejected) -> None:
    """Store a message under a key that sorts by time."""
    values: dict[str, Value | None] = {
        "queue": rejected.queue,
        "message_id": rejected.message_id,
        "owner": rejected.owner,
        "bytes": len(rejected.body),
        "reason": rejected.reason[:REASON_CHARS],
        "rejected_at": rejected.at,
    }
    if rejected.record_content:
        values["excerpt"] = rejected.body[:EXCERPT_CHARS].decode(errors="replace")
        values["body"] = rejected.body[:MAX_BODY_BYTES]
    change = Change(Operation.UPSERT, f"{REJECTED}:{rejected.ulid}", values)
    await table.write(REJECTED_PARTITION, [change])
