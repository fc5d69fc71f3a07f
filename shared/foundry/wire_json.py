"""JSON objects from outside, and how to read them safely.

Foundry may leave out, null or change a documented field; these functions then return an empty value
instead of raising far from the cause.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from pydantic import ValidationError

from .errors import ProtocolError

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose members are not checked yet."""

MAX_PROBLEMS = 5
"""Named in one error; a value from outside may have any number of them."""


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
        ProtocolError: if the field is missing or empty.
    """
    if (text := text_at(body, name)) is None:
        raise ProtocolError(f"Foundry's answer lacks the field '{name}'.", may_have_run=True)
    return text


def text_at(body: JsonObject, name: str) -> str | None:
    """The non-empty text under ``name``, or None."""
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def explain(error: ValidationError) -> str:
    """What pydantic found wrong as `field.path: reason`, without values."""
    problems: list[str] = []
    for detail in error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]:
        path = ".".join(str(step) for step in detail["loc"])
        problems.append(f"{path}: {detail['msg']}" if path else detail["msg"])
    return "; ".join(problems)
