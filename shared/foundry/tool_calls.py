"""The tool calls in an answer, as the audit trail keeps them: by name, with a digest.

Foundry runs an agent's own tools and reports each as an output item ``<kind>_call``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ..text import parse_json
from .wire_json import JsonObject

CALL_SUFFIX = "_call"

_ARGUMENTS = ("arguments", "input", "action", "queries", "code")
"""Where the kinds of calls keep what the tool was asked."""


class ToolCall(NamedTuple):
    """One call of a tool."""

    tool: str
    arguments_hash: str | None
    """Of what it was asked; None where the answer does not say."""


def tool_calls(items: Sequence[JsonObject]) -> tuple[ToolCall, ...]:
    """Every call of a tool among the output items of a response."""
    calls: list[ToolCall] = []
    for item in items:
        kind = str(item.get("type"))
        if kind.endswith(CALL_SUFFIX):
            asked = next((item[name] for name in _ARGUMENTS if item.get(name) is not None), None)
            tool = str(item.get("name") or kind.removesuffix(CALL_SUFFIX))
            calls.append(ToolCall(tool, None if asked is None else arguments_hash(asked)))
    return tuple(calls)


def arguments_hash(arguments: Any) -> str:
    """A digest that tells two calls of a tool apart and does not tell what was said.

    32 hexadecimal digits of the SHA-256 of the arguments as JSON with sorted keys.
    """
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = parse_json(arguments)
    content = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]
