"""Who calls, and so whose data a request may see."""

from __future__ import annotations

from dataclasses import dataclass

KEY_OWNER = "key"
"""Callers with a function key are one owner: a key proves possession, not a person."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    owner: str
    """Key of everything that is the caller's."""


def function_key_principal() -> Principal:
    """The caller of a request that the Functions host let in by its key."""
    return Principal(KEY_OWNER)
