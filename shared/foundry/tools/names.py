"""Tools that callers request by name, such as `data_analysis` or `knowledge_retrieval`.

A name stands for a hosted tool of the service, configured by settings. A tool that needs more than
a name, such as an MCP server's URL, is given as an object or in an agent's definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...config import FoundryAgentServiceConfig
from ..errors import ConfigurationError, InvalidRequestError
from ..wire_json import JsonObject
from .catalogue import TOOL_TYPES


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool that can be requested by name."""

    description: str
    types: frozenset[str]
    """The types of agent tools that the name stands for."""
    build: Callable[[FoundryAgentServiceConfig], JsonObject]


def named_tool(
    name: str, config: FoundryAgentServiceConfig, *, also_known: Iterable[str] = ()
) -> JsonObject:
    """The definition of the tool with a name; an error lists ``also_known`` names as well.

    Raises:
        InvalidRequestError: `unknown_tool`, listing the known names.
        ConfigurationError: naming the setting that the tool needs.
    """
    if named := NAMED_TOOLS.get(name):
        return named.build(config)
    known = ", ".join(sorted({*NAMED_TOOLS, *also_known}))
    if name in TOOL_TYPES:
        raise InvalidRequestError(
            f"The tool '{name}' needs more than its name: give it as an object with "
            f"'type': '{name}', or add it to an agent. Tools known by name are {known}.",
            code="unknown_tool",
        )
    raise InvalidRequestError(
        f"There is no tool '{name}'. Known tools are {known}.", code="unknown_tool"
    )


def _code_interpreter(_: FoundryAgentServiceConfig) -> JsonObject:
    return {"type": "code_interpreter", "container": {"type": "auto"}}


def _web_search(_: FoundryAgentServiceConfig) -> JsonObject:
    return {"type": "web_search"}


def _file_search(config: FoundryAgentServiceConfig) -> JsonObject:
    stores = [store.strip() for store in config.vector_store_ids.split(",") if store.strip()]
    if not stores:
        raise _lacks("file_search", "FOUNDRY_VECTOR_STORE_IDS")
    return {"type": "file_search", "vector_store_ids": stores}


def _azure_ai_search(config: FoundryAgentServiceConfig) -> JsonObject:
    settings = {
        "FOUNDRY_SEARCH_CONNECTION_ID": config.search_connection_id,
        "FOUNDRY_SEARCH_INDEX": config.search_index,
    }
    if missing := [name for name, value in settings.items() if not value]:
        raise _lacks("azure_ai_search", " and ".join(missing))
    index = {
        "project_connection_id": config.search_connection_id,
        "index_name": config.search_index,
    }
    return {"type": "azure_ai_search", "azure_ai_search": {"indexes": [index]}}


def _knowledge_retrieval(config: FoundryAgentServiceConfig) -> JsonObject:
    """File search if vector stores are configured, or else Azure AI Search."""
    if config.vector_store_ids.strip(" ,"):
        return _file_search(config)
    if config.search_connection_id or config.search_index:
        return _azure_ai_search(config)
    raise _lacks(
        "knowledge_retrieval",
        "FOUNDRY_VECTOR_STORE_IDS, or FOUNDRY_SEARCH_CONNECTION_ID and FOUNDRY_SEARCH_INDEX",
    )


def _lacks(name: str, settings: str) -> ConfigurationError:
    return ConfigurationError(f"The tool '{name}' is not configured: set {settings}.")


_CODE = frozenset({"code_interpreter"})
_FILES = frozenset({"file_search"})
_INDEX = frozenset({"azure_ai_search"})
_WEB = frozenset(
    {"web_search", "web_search_preview", "bing_grounding", "bing_custom_search_preview"}
)

NAMED_TOOLS: dict[str, NamedTool] = {
    "data_analysis": NamedTool("Analyse data with code.", _CODE, _code_interpreter),
    "visualization": NamedTool("Draw charts with code.", _CODE, _code_interpreter),
    "statistical_modeling": NamedTool("Fit models with code.", _CODE, _code_interpreter),
    "data_aggregation": NamedTool("Sum up data with code.", _CODE, _code_interpreter),
    "sentiment_analysis": NamedTool("Rate texts with code.", _CODE, _code_interpreter),
    "code_interpreter": NamedTool("Run Python in a sandbox.", _CODE, _code_interpreter),
    "knowledge_retrieval": NamedTool(
        "Search in the organisation's documents.", _FILES | _INDEX, _knowledge_retrieval
    ),
    "file_search": NamedTool("Search in vector stores.", _FILES, _file_search),
    "azure_ai_search": NamedTool("Search in an Azure AI Search index.", _INDEX, _azure_ai_search),
    "web_search": NamedTool("Search the web.", _WEB, _web_search),
}
"""Every name and its tool."""
