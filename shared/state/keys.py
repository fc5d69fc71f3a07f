"""Partition and row keys.

All rows of one owner share a partition. So a query cannot reach another owner's rows, and all
changes of a turn are one transaction. A row key is ``kind:...``; the keys of threads and jobs have
the complement of their ULID, so that ascending order is newest first.
https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime
from enum import StrEnum

from ulid import ULID

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_COMPLEMENT = str.maketrans(_ALPHABET, _ALPHABET[::-1])
_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
"""What `int` reads as digits of base 32."""
_ID = re.compile(r"^(?P<kind>[a-z]+)_(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})$")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")
_UNSAFE = re.compile(r"[^A-Za-z0-9:._@-]")

AFTER_COLON = ";"
"""The character that follows the colon: ``kind;`` ends the range of ``kind:...`` rows."""


IDEMPOTENCY = "idem"
OUTBOX = "out"
BOX = "box"
ANSWER = "answer"
ASKED = "asked"
REJECTED = "rejected"
ERASURE = "erasure"
EXCHANGE = "exchange"
CONVERSATION = "conversation"
CLIENT_KEY = "key"
SEAL = "seal"
AUDIT = "audit"
RESPONSE = "response"


class Kind(StrEnum):
    """The kinds of ids, which are also the prefixes of row keys."""

    THREAD = "thread"
    JOB = "job"
    TURN = "turn"


ROW_KINDS = (
    Kind.THREAD,
    Kind.TURN,
    Kind.JOB,
    BOX,
    IDEMPOTENCY,
    OUTBOX,
    ANSWER,
    ASKED,
    CONVERSATION,
    EXCHANGE,
    REJECTED,
    ERASURE,
    CLIENT_KEY,
    SEAL,
    AUDIT,
    RESPONSE,
)
"""The row key prefixes of the state table, except those of markers and the retention cursor. Each
has a rule in `threads.retention` and a line in docs/privacy.md."""


def new_id(kind: Kind) -> str:
    """A new id, ``<kind>_<ulid>``, that sorts by time within its kind."""
    return f"{kind}_{ULID()}"


def made_at(identifier: str) -> datetime:
    """When an id was made, which the first ten characters of its ULID say in milliseconds.

    A tenth of the time of the library's `ULID.from_str`, which also reads the rest.
    """
    ulid = identifier.partition("_")[2]
    return datetime.fromtimestamp(int(ulid[:10].translate(_DIGITS), 32) / 1000, UTC)


def id_pattern(kind: Kind) -> str:
    """The regular expression of the ids of a kind."""
    return f"^{kind}_[0-7][0-9A-HJKMNP-TV-Z]{{25}}$"


def is_id(kind: Kind, text: str) -> bool:
    """Whether an untrusted text is an id of this kind."""
    match = _ID.fullmatch(text)
    return match is not None and match["kind"] == kind


def partition_key(owner: str) -> str:
    """The owner's partition; characters that keys must not have are escaped as ``=XX``."""
    return _UNSAFE.sub(_escape, owner)


def _escape(match: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def owner_of(partition: str) -> str:
    """The owner of a partition."""
    parts = _ESCAPED.split(partition)
    texts = [bytes.fromhex(p) if n % 2 else p.encode() for n, p in enumerate(parts)]
    return b"".join(texts).decode("utf-8", "surrogatepass")


def complement(ulid: str) -> str:
    """A text that sorts in reverse order; the complement of it is the ULID again."""
    return ulid.translate(_COMPLEMENT)


def newest_first(identifier: str) -> str:
    """Row key of a thread or job, given its id."""
    kind, _, ulid = identifier.partition("_")
    return f"{kind}:{complement(ulid)}"


def identifier(row_key: str) -> str:
    """The id of a thread or job, given its row key."""
    kind, _, kept = row_key.partition(":")
    return f"{kind}_{complement(kept)}"


def turn_prefix(thread_id: str | None) -> str:
    """The row key prefix of a thread's turns."""
    return f"{Kind.TURN}:{thread_id or '-'}:"


def turn_key(thread_id: str | None, turn_id: str) -> str:
    """Row key of a turn: grouped by thread, in order of time."""
    return f"{turn_prefix(thread_id)}{turn_id.removeprefix('turn_')}"


def box_key(lane: str, sequence: int) -> str:
    """Row key of a waiting job's place in its lane."""
    return f"{box_prefix(lane)}{sequence:012d}"


def box_prefix(lane: str) -> str:
    """The row key prefix of a lane's waiting jobs."""
    return f"{BOX}:{lane}:"


def key_row(key_hash: str) -> str:
    """Row key of an idempotency key."""
    return f"{IDEMPOTENCY}:{key_hash}"


def outbox_key(job_id: str) -> str:
    """Row key of the delivery of a job's result."""
    return f"{OUTBOX}:{job_id}"


def answer_key(job_id: str, number: int) -> str:
    """Row key of an answer of a job that is not delivered yet."""
    return f"{ANSWER}:{job_id}:{number:04d}"


def asked_key(job_id: str) -> str:
    """Row key of what an ended job was asked."""
    return f"{ASKED}:{job_id}"


def conversation_key(conversation_id: str) -> str:
    """Row key of a caller's own conversation id; hashed, because the text may be too long for a key
    or have characters that keys must not have."""
    return f"{CONVERSATION}:{hashlib.sha256(conversation_id.encode(errors='replace')).hexdigest()}"


def exchange_key(thread_id: str, number: int) -> str:
    """Row key of an exchange: grouped by thread, in order."""
    return f"{exchange_prefix(thread_id)}{number:08d}"


def exchange_prefix(thread_id: str) -> str:
    """The row key prefix of a thread's exchanges."""
    return f"{EXCHANGE}:{thread_id}:"


def audit_key(day: date, key: str) -> str:
    """Row key of an audit record that belongs to a transaction: by day, newest first."""
    return f"{AUDIT}:{day.isoformat()}:{key}"
