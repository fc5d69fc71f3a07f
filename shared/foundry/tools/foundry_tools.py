"""Tools that only Foundry has, as they stand in a request or an agent.

Field names and required fields are those of `azure.ai.projects.models` 2.10.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..wire_json import JsonObject
from .model_tools import McpApprovalFilter, ToolModel, ToolPart


class ProjectConnection(ToolPart):
    """A connection of the project, by its resource id."""

    project_connection_id: str


class BingSearch(ProjectConnection):
    """How to search with Bing."""

    market: str | None = None
    set_lang: str | None = None
    count: int | None = None
    freshness: str | None = None


class BingGrounding(ToolPart):
    """The one search that grounding with Bing takes."""

    search_configurations: Annotated[list[BingSearch], Field(min_length=1, max_length=1)]


class BingGroundingTool(ToolModel):
    """Grounding with Bing Search."""

    type: Literal["bing_grounding"] = "bing_grounding"
    bing_grounding: BingGrounding


class BingCustomSearch(BingSearch):
    """How to search with an instance of Bing Custom Search."""

    instance_name: str


class BingCustomSearches(ToolPart):
    """The one search that grounding with Bing Custom Search takes."""

    search_configurations: Annotated[list[BingCustomSearch], Field(min_length=1, max_length=1)]


class BingCustomSearchTool(ToolModel):
    """Grounding with Bing Custom Search."""

    type: Literal["bing_custom_search_preview"] = "bing_custom_search_preview"
    bing_custom_search_preview: BingCustomSearches


class SearchIndex(ToolPart):
    """An index of Azure AI Search: by connection and name, or as an asset of the project."""

    project_connection_id: str | None = None
    index_name: str | None = None
    index_asset_id: str | None = None
    query_type: (
        Literal["simple", "semantic", "vector", "vector_simple_hybrid", "vector_semantic_hybrid"]
        | None
    ) = None
    top_k: int | None = Field(default=None, ge=1)
    filter: str | None = None


class SearchIndexes(ToolPart):
    """The one index that a tool takes."""

    indexes: Annotated[list[SearchIndex], Field(min_length=1, max_length=1)]


class AzureAISearchTool(ToolModel):
    """Search in an index of Azure AI Search."""

    type: Literal["azure_ai_search"] = "azure_ai_search"
    azure_ai_search: SearchIndexes


class OpenApiFunction(ToolPart):
    """A web API described by an OpenAPI document."""

    name: str
    description: str | None = None
    spec: JsonObject
    auth: JsonObject
    """`type` is `anonymous`, `managed_identity` or `project_connection`."""
    default_params: list[str] | None = None


class OpenApiTool(ToolModel):
    """Calls of a web API, made by the service."""

    type: Literal["openapi"] = "openapi"
    openapi: OpenApiFunction


class AzureFunction(ToolPart):
    """A function behind Storage queues."""

    function: JsonObject
    """`name`, `description` and `parameters`."""
    input_binding: JsonObject
    output_binding: JsonObject


class AzureFunctionTool(ToolModel):
    """A call of an Azure function by way of Storage queues."""

    type: Literal["azure_function"] = "azure_function"
    azure_function: AzureFunction


class MemorySearchTool(ToolModel):
    """Search in a memory store; `memory_search` is the older name."""

    type: Literal["memory_search_preview", "memory_search"] = "memory_search_preview"
    memory_store_name: str
    scope: str
    """Whose memories; `{{$userId}}` stands for the calling user."""
    search_options: JsonObject | None = None
    update_delay: int | None = None
    """Seconds of silence after which memories are updated."""


class A2ATool(ToolModel):
    """Another agent, reached over the Agent2Agent protocol."""

    type: Literal["a2a"] = "a2a"
    a2a_version: str = "1.0"
    base_url: str | None = None
    agent_card_path: str | None = None
    project_connection_id: str | None = None
    send_credentials_for_agent_card: bool | None = None


class A2APreviewTool(ToolModel):
    """The earlier form of `a2a`."""

    type: Literal["a2a_preview"] = "a2a_preview"
    base_url: str | None = None
    agent_card_path: str | None = None
    project_connection_id: str | None = None
    send_credentials_for_agent_card: bool | None = None


class BrowserAutomation(ToolPart):
    """The workspace in which a browser runs."""

    connection: ProjectConnection


class BrowserAutomationTool(ToolModel):
    """A browser that the service operates."""

    type: Literal["browser_automation"] = "browser_automation"
    browser_automation: BrowserAutomation


class BrowserAutomationPreviewTool(ToolModel):
    """The deprecated form of `browser_automation`."""

    type: Literal["browser_automation_preview"] = "browser_automation_preview"
    browser_automation_preview: BrowserAutomation


class ProjectConnections(ToolPart):
    """The connections that a tool works with."""

    project_connections: list[ProjectConnection]


class SharepointTool(ToolModel):
    """Grounding in SharePoint."""

    type: Literal["sharepoint_grounding_preview"] = "sharepoint_grounding_preview"
    sharepoint_grounding_preview: ProjectConnections


class FabricTool(ToolModel):
    """A data agent of Microsoft Fabric."""

    type: Literal["fabric_dataagent_preview"] = "fabric_dataagent_preview"
    fabric_dataagent_preview: ProjectConnections


class WorkIQTool(ToolModel):
    """Microsoft 365 content, by way of Work IQ."""

    type: Literal["work_iq_preview"] = "work_iq_preview"
    project_connection_id: str


class FabricIQTool(ToolModel):
    """Fabric content, by way of Fabric IQ."""

    type: Literal["fabric_iq_preview"] = "fabric_iq_preview"
    project_connection_id: str
    server_label: str | None = None
    server_url: str | None = None
    require_approval: Literal["always", "never"] | McpApprovalFilter | None = None


class WebIQTool(ToolModel):
    """Web content, by way of Web IQ."""

    type: Literal["web_iq_preview"] = "web_iq_preview"
    project_connection_id: str
    server_label: str | None = None
    require_approval: Literal["always", "never"] | McpApprovalFilter | None = None


class CaptureStructuredOutputsTool(ToolModel):
    """Objects that the agent hands out beside its answer."""

    type: Literal["capture_structured_outputs"] = "capture_structured_outputs"
    outputs: JsonObject
    """`name`, `description`, `schema` and `strict`."""


class GitHubCopilotToolset(ToolModel):
    """The tools of GitHub Copilot agents."""

    type: Literal["github_copilot_toolset_preview"] = "github_copilot_toolset_preview"
    default_config: JsonObject | None = None
    configs: list[JsonObject] | None = None


class MicrosoftCopilotToolset(ToolModel):
    """The tools of Microsoft Copilot agents."""

    type: Literal["microsoft_copilot_toolset_preview"] = "microsoft_copilot_toolset_preview"
    default_config: JsonObject | None = None
    configs: list[JsonObject] | None = None
