"""Raw JSON as it stands on the wire, and safe steps into it.

Foundry may leave out, null or change what it documents; these steps give "nothing there" instead
of an exception far from the cause.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from .errors import ProtocolError

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose members are not checked yet."""


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
