"""Checks that an agent has the tools that a caller requests.

A request to an agent cannot carry tools, so a tool that the caller requests must be the agent's.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidRequestError
from ..tools.custom import custom_tool
from ..tools.names import NAMED_TOOLS
from ..tools.toolbox import ToolLike
from ..wire_json import JsonObject, object_at, objects_at, text_at


def check_tools(version: JsonObject, wanted: Iterable[ToolLike]) -> None:
    """Check that an agent's version has each tool that a caller requests.

    A name matches a tool that it stands for (`data_analysis`: a code interpreter), a function of
    that name, an MCP server with that label, or a tool of that type. A tool object or a function
    matches a tool with its name, label or type.

    Args:
        version: The version as `Agents.get` returns it, with `name`, `version` and `definition`.
        wanted: The tools that the caller requests.

    Raises:
        InvalidRequestError: `tool_not_in_agent`, listing what the agent has.
    """
    tools = objects_at(object_at(version, "definition"), "tools")
    names = map(_name_of, wanted)
    missing = [name for name in names if not any(_satisfies(tool, name) for tool in tools)]
    if missing:
        has = ", ".join(_label(tool) for tool in tools) or "no tools"
        raise InvalidRequestError(
            f"The agent '{version.get('name')}' (version {version.get('version')}) has no tool "
            f"{', '.join(map(repr, missing))}; it has {has}. Tools are part of the agent: add "
            "them to its definition.",
            code="tool_not_in_agent",
        )


def _satisfies(tool: JsonObject, name: str) -> bool:
    named = NAMED_TOOLS.get(name)
    if named and tool.get("type") in named.types:
        return True
    return name in {_label(tool), tool.get("type")}


def _name_of(tool: ToolLike) -> str:
    if isinstance(tool, str):
        return tool
    return custom_tool(tool).name if callable(tool) else _label(dict(tool))


def _label(tool: JsonObject) -> str:
    """The tool's name or MCP server label, or else its type."""
    return text_at(tool, "name") or text_at(tool, "server_label") or str(tool.get("type"))
