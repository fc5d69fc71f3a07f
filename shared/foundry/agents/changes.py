"""What would change if a file were applied to an agent."""

from __future__ import annotations

import difflib
from typing import Any, cast

from ..wire_json import JsonObject
from .yaml_text import dump_yaml

_DEFAULTS: JsonObject = {
    "temperature": 1,
    "top_p": 1,
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
}
"""What the service may write where a definition says nothing."""


def difference(current: JsonObject | None, wanted: JsonObject) -> str:
    """A unified diff from a version to the one wanted; empty where they say the same.

    Nulls, empty lists and objects, and the service's defaults count as not said.
    """
    before = [] if current is None else _lines(current)
    after = _lines(wanted)
    old = "nothing" if current is None else f"version {current.get('version')}"
    return "\n".join(difflib.unified_diff(before, after, old, "file", lineterm=""))


def _lines(version: JsonObject) -> list[str]:
    said = {key: version.get(key) for key in ("description", "metadata", "definition")}
    definition = cast("JsonObject", said["definition"] or {})
    said["definition"] = {
        key: value for key, value in definition.items() if _DEFAULTS.get(key) != value
    }
    return dump_yaml(_said(said)).splitlines()


def _said(value: Any) -> Any:
    """The value with sorted keys and without what says nothing."""
    if isinstance(value, dict):
        members = {key: _said(member) for key, member in cast("JsonObject", value).items()}
        return {key: members[key] for key in sorted(members) if members[key] not in (None, {}, [])}
    if isinstance(value, list):
        return [_said(member) for member in cast("list[Any]", value)]
    return value
