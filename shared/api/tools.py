"""`GET /tools`: the tools that a message may name."""

from __future__ import annotations

from dataclasses import dataclass

from ..documents import Document
from ..foundry.service import FoundryService
from ..foundry.tools.toolbox import OfferedTool
from ..http.answers import Answer
from ..http.request import Incoming
from ..state.client_keys import NOT_IN_KEY, KeyTerms


class ToolDocument(Document):
    """A tool that the `tools` of a message may name."""

    name: str
    description: str
    types: list[str]
    """The types of tools that the name stands for; `function` for a custom tool."""
    is_available: bool | None
    """Null if the configured agent decides, which must have the tool."""
    needs: list[list[str]]
    """The settings that it needs; any one of several lists is enough."""
    missing: list[list[str]]
    """The settings of each list that are not set; empty if the tool is configured."""
    unavailable: str | None
    """Why it cannot be used, and what to set."""


class ToolsDocument(Document):
    """The tools of the app; only Foundry can use them."""

    agent_id: str | None
    """The agent whose tools a message may name; null if the model is called directly."""
    data: list[ToolDocument]


@dataclass(frozen=True, slots=True)
class ToolsApi:
    """Handlers of `/tools`."""

    foundry: FoundryService

    async def list_(self, incoming: Incoming) -> Answer:
        """Every tool by name, as the caller may name it; reads nothing and calls nothing."""
        config, terms = self.foundry.config, incoming.principal.terms
        offered = self.foundry.offered_tools()
        tools = [_tool(tool, terms, has_agent=config.asks_agent) for tool in offered]
        document: ToolsDocument = {
            "agent_id": config.agent_id if config.asks_agent else None,
            "data": tools,
        }
        return Answer({**document})


def _tool(tool: OfferedTool, terms: KeyTerms | None, *, has_agent: bool) -> ToolDocument:
    is_allowed = terms is None or terms.allows_tool(tool.name)
    is_available = None if has_agent and not tool.missing else not tool.missing
    return {
        "name": tool.name,
        "description": tool.description,
        "types": list(tool.types),
        "is_available": is_available if is_allowed else False,
        "needs": [list(names) for names in tool.needs],
        "missing": [list(names) for names in tool.missing],
        "unavailable": tool.unavailable or (None if is_allowed else NOT_IN_KEY),
    }
