"""Whether an agent has the tools that a caller asks for.

Beside an agent no tools can be sent, so asking for one by name can only mean the agent's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidRequestError
from ..tools.custom import custom_tool
from ..tools.names import NAMED_TOOLS
from ..tools.toolbox import ToolLike
from ..wire_json import JsonObject, object_at, objects_at, text_at


def check_tools(version: JsonObject, wanted: Iterable[ToolLike]) -> None:
    """Check that an agent's version has each tool that a caller asks for.

    A name is satisfied by a tool that it stands for (`data_analysis`: a code interpreter), by a
    function of that name, by an MCP server of that label, or by a tool of that type; a tool that
    is given whole, by one of its name, label or type.

    Args:
        version: As `Agents.get` returns it, with `name`, `version` and `definition`.
        wanted: What the caller asked for.

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
    """What distinguishes this tool from others of its type, or its type."""
    return text_at(tool, "name") or text_at(tool, "server_label") or str(tool.get("type"))
