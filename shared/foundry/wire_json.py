"""Raw JSON as it stands on the wire, and safe steps into it.

Foundry may leave out, null or change what it documents; these steps give "nothing there" instead
of an exception far from the cause.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any, TypeAlias, cast

from pydantic_core import from_json

from .errors import ProtocolError

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose members are not checked yet."""

_ESCAPE = re.compile(
    rb"\\\\"  # a backslash: what follows is text
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
"""Escapes among which surrogates are found: a backslash, a whole pair, or half of one."""


def parse_json(content: bytes | str) -> Any:
    """Read JSON text from outside, at most 200 levels deep.

    Half a surrogate pair, which no store and no answer can hold, becomes "?".

    Raises:
        ValueError: if it is not JSON, as NaN is not.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    if b"\\ud" in data or b"\\uD" in data:  # only an escape can smuggle a half in
        data = _ESCAPE.sub(lambda escape: b"?" if _is_half(escape[0]) else escape[0], data)
    return from_json(data.removeprefix(BOM_UTF8), allow_inf_nan=False)


def _is_half(escape: bytes) -> bool:
    return len(escape) == len(rb"\ud800")


def object_at(body: JsonObject, name: str) -> JsonObject:
    """The object under ``name``, or an empty one."""
    value = body.get(name)
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def objects_at(body: JsonObject, name: str) -> list[JsonObject]:
    """The objects in the list under ``name``; none where there is no list."""
    value = body.get(name)
    if not isinstance(value, list):
        return []
    return [cast("JsonObject", item) for item in cast("list[Any]", value) if isinstance(item, dict)]


def required_text(body: JsonObject, name: str) -> str:
    """The text under ``name``.

    Raises:
        ProtocolError: if there is none.
    """
    if (text := text_at(body, name)) is None:
        raise ProtocolError(f"Foundry's answer lacks the field '{name}'.", may_have_run=True)
    return text


def text_at(body: JsonObject, name: str) -> str | None:
    """The non-empty text under ``name``, or None."""
    value = body.get(name)
    return value if isinstance(value, str) and value else None
