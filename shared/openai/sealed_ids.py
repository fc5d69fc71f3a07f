"""Ids of items in conversations: ours, made of Foundry's and back, without a table.

An id is only good in its own conversation, whose id it is mixed with.
"""

from __future__ import annotations

import base64
import hashlib
import re

_FOUNDRY_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def sealed_id(thread_id: str, kind: str, foundry_id: str) -> str:
    """The id of an item for callers, given its type and Foundry's id."""
    mixed = base64.b32encode(_mix(thread_id, foundry_id.encode())).decode().rstrip("=").lower()
    return f"{_PREFIXES.get(kind, 'item')}_{mixed}"


def foundry_id(thread_id: str, item_id: str) -> str | None:
    """Foundry's id of an item; None if it is not the id of an item of this conversation."""
    _, _, mixed = item_id.partition("_")
    try:
        padded = mixed.upper() + "=" * (-len(mixed) % 8)
        found = _mix(thread_id, base64.b32decode(padded)).decode("ascii")
    except ValueError:
        return None
    return found if _FOUNDRY_ID.fullmatch(found) else None


def _mix(thread_id: str, content: bytes) -> bytes:
    key = hashlib.shake_256(thread_id.encode()).digest(len(content))
    return bytes(a ^ b for a, b in zip(content, key, strict=True))
