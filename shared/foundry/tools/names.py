"""Tools that callers request by name, such as `data_analysis` or `knowledge_retrieval`.

A name stands for a hosted tool of the service, configured by settings. A tool that needs more than
a name, such as an MCP server's URL, is given as an object or in an agent's definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...config import FoundryAgentServiceConfig, names_in
from ..errors import ConfigurationError, InvalidRequestError
from ..wire_json import JsonObject
from .catalogue import TOOL_TYPES

ENABLE_TOOLS = "FOUNDRY_ENABLE_FOUNDRY_TOOLS"
"""The setting that allows tools in requests."""

SettingNames = tuple[str, ...]
"""Names of settings."""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool that can be requested by name."""

    description: str
    types: frozenset[str]
    """The types of agent tools that the name stands for."""
    build: Callable[[FoundryAgentServiceConfig], JsonObject]
    """Makes the tool's definition; called only if no setting is missing."""
    needs: tuple[SettingNames, ...] = ()
    """The settings that the tool needs; any one of several alternatives is enough."""

    def missing(self, config: FoundryAgentServiceConfig) -> tuple[SettingNames, ...]:
        """The settings that are missing in each alternative; empty if the tool is configured.

        If an alternative is configured in part, only its missing settings are returned.
        """
        lacking = [tuple(n for n in names if not _is_set(config, n)) for names in self.needs]
        if () in lacking:
            return ()
        begun = [rest for rest, names in zip(lacking, self.needs, strict=True) if rest != names]
        return tuple(begun[:1] or lacking)


_FIELDS = {env.name: field for field, env in FoundryAgentServiceConfig.variables().items()}


def _is_set(config: FoundryAgentServiceConfig, setting: str) -> bool:
    return bool(names_in(getattr(config, _FIELDS[setting])))


def named_tool(
    name: str, config: FoundryAgentServiceConfig, *, also_known: Iterable[str] = ()
) -> JsonObject:
    """The definition of the tool with a name; an error lists ``also_known`` names as well.

    Raises:
        InvalidRequestError: `unknown_tool`, listing the known names.
        ConfigurationError: naming the setting that the tool needs.
    """
    if named := NAMED_TOOLS.get(name):
        if missing := named.missing(config):
            raise ConfigurationError(not_configured(name, missing))
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


def not_configured(name: str, missing: Iterable[SettingNames]) -> str:
    """The text that says which settings a tool needs."""
    return f"The tool '{name}' is not configured: set {', or '.join(map(' and '.join, missing))}."


def _code_interpreter(_: FoundryAgentServiceConfig) -> JsonObject:
    return {"type": "code_interpreter", "container": {"type": "auto"}}


def _web_search(_: FoundryAgentServiceConfig) -> JsonObject:
    return {"type": "web_search"}


def _file_search(config: FoundryAgentServiceConfig) -> JsonObject:
    return {"type": "file_search", "vector_store_ids": names_in(config.vector_store_ids)}


def _azure_ai_search(config: FoundryAgentServiceConfig) -> JsonObject:
    index = {
        "project_connection_id": config.search_connection_id,
        "index_name": config.search_index,
    }
    return {"type": "azure_ai_search", "azure_ai_search": {"indexes": [index]}}


def _knowledge_retrieval(config: FoundryAgentServiceConfig) -> JsonObject:
    """File search if vector stores are configured, or else Azure AI Search."""
    return _file_search(config) if names_in(config.vector_store_ids) else _azure_ai_search(config)


_STORES = ("FOUNDRY_VECTOR_STORE_IDS",)
_SEARCH = ("FOUNDRY_SEARCH_CONNECTION_ID", "FOUNDRY_SEARCH_INDEX")

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
        "Search in the organisation's documents.",
        _FILES | _INDEX,
        _knowledge_retrieval,
        (_STORES, _SEARCH),
    ),
    "file_search": NamedTool("Search in vector stores.", _FILES, _file_search, (_STORES,)),
    "azure_ai_search": NamedTool(
        "Search in an Azure AI Search index.", _INDEX, _azure_ai_search, (_SEARCH,)
    ),
    "web_search": NamedTool("Search the web.", _WEB, _web_search),
}
"""Every name and its tool."""
