"""Queue messages that cannot be run, kept where an operator can find them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ulid import ULID

from .keys import REJECTED
from .table import Change, Operation, Table, Value

REJECTED_PARTITION = "$rejected"
"""No owner's partition: a dollar sign in an owner's key is escaped."""

MAX_BODY_BYTES = 64 * 1024
"""What a property holds; no queue message has more."""

EXCERPT_CHARS = 1_000
"""A summary; the whole message is stored beside it."""

REASON_CHARS = 4_000
"""A body with many wrong fields has a long list of reasons; a text property holds 32,000."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, and why it was rejected."""

    ulid: ULID
    """Of the message: one that is rejected twice is kept once."""
    queue: str
    message_id: str
    body: bytes
    reason: str
    at: datetime
    owner: str | None = None
    """Whom it names, if it names an owner."""
    record_content: bool = True
    """Whether the message itself is kept."""


async def record_rejected(table: Table, rejected: Rejected) -> None:
    """Keep a message, in the order of time."""
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
