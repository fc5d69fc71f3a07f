"""Tools that OpenAI's Responses API and Foundry share, as they stand in a request or an agent.

Field names and required fields are those of `azure.ai.projects.models` 2.10 and
`openai.types.responses` 3.54. Fields that are not named here pass through as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..wire_json import JsonObject


class ToolPart(BaseModel):
    """A piece of a tool's definition; unknown fields pass through, nulls are left out.

    Validators are built when first needed: an app that names two tools does not pay for thirty.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)


class ToolModel(ToolPart):
    """A tool as a model or an agent is offered it."""

    def to_json(self) -> JsonObject:
        """The object that goes on the wire."""
        return self.model_dump(mode="json", exclude_none=True)


class FunctionTool(ToolModel):
    """A function that the caller runs; its fields are flat, not nested under `function`."""

    type: Literal["function"] = "function"
    name: str
    parameters: JsonObject
    """JSON schema of the arguments, an object."""
    strict: bool = False
    """Hold the model to the schema; the schema must then require every property."""
    description: str | None = None


class AutoContainer(ToolPart):
    """A container that the service makes for the code."""

    type: Literal["auto"] = "auto"
    file_ids: list[str] | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None


class CodeInterpreterTool(ToolModel):
    """Python in a sandbox of the service: data analysis, charts, models."""

    type: Literal["code_interpreter"] = "code_interpreter"
    container: str | AutoContainer = AutoContainer()
    """A container's id (`cntr_...`), or one made for the purpose."""


class FileSearchTool(ToolModel):
    """Search in vector stores."""

    type: Literal["file_search"] = "file_search"
    vector_store_ids: list[str]
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    ranking_options: JsonObject | None = None
    filters: JsonObject | None = None


class UserLocation(ToolPart):
    """Where the user is, roughly."""

    type: Literal["approximate"] = "approximate"
    country: str | None = None
    """Two letters, ISO 3166-1."""
    region: str | None = None
    city: str | None = None
    timezone: str | None = None
    """IANA name."""


class WebSearchFilters(ToolPart):
    """Where to search."""

    allowed_domains: list[str] | None = None


class WebSearchConfiguration(ToolPart):
    """A Bing Custom Search instance to search with."""

    project_connection_id: str
    instance_name: str


class WebSearchTool(ToolModel):
    """Search of the web."""

    type: Literal["web_search"] = "web_search"
    external_web_access: bool | None = None
    user_location: UserLocation | None = None
    search_context_size: Literal["low", "medium", "high"] | None = None
    filters: WebSearchFilters | None = None
    custom_search_configuration: WebSearchConfiguration | None = None


class WebSearchPreviewTool(ToolModel):
    """The web search of the deep-research models."""

    type: Literal["web_search_preview"] = "web_search_preview"
    user_location: UserLocation | None = None
    search_context_size: Literal["low", "medium", "high"] | None = None


class McpToolFilter(ToolPart):
    """Some of an MCP server's tools."""

    tool_names: list[str] | None = None
    read_only: bool | None = None


class McpApprovalFilter(ToolPart):
    """Which of an MCP server's tools need approval, and which never do."""

    always: McpToolFilter | None = None
    never: McpToolFilter | None = None


class McpTool(ToolModel):
    """The tools of an MCP server, which the service calls; give its URL or a connector."""

    type: Literal["mcp"] = "mcp"
    server_label: str
    server_url: str | None = None
    connector_id: str | None = None
    project_connection_id: str | None = None
    headers: dict[str, str] | None = Field(default=None, repr=False)
    authorization: str | None = Field(default=None, repr=False)
    allowed_tools: list[str] | McpToolFilter | None = None
    require_approval: Literal["always", "never"] | McpApprovalFilter | None = None
    """Absent means `always`."""


class ImageGenerationTool(ToolModel):
    """Images drawn by a model of its own."""

    type: Literal["image_generation"] = "image_generation"
    model: str | None = None
    quality: Literal["low", "medium", "high", "auto"] | None = None
    size: str | None = None
    output_format: Literal["png", "webp", "jpeg"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    partial_images: int | None = Field(default=None, ge=0, le=3)


class ComputerTool(ToolModel):
    """A computer that the caller operates for the model."""

    type: Literal["computer"] = "computer"


class ComputerUsePreviewTool(ToolModel):
    """The earlier form of `computer`."""

    type: Literal["computer_use_preview"] = "computer_use_preview"
    environment: Literal["windows", "mac", "linux", "ubuntu", "browser"]
    display_width: int
    """Pixels."""
    display_height: int
    """Pixels."""


class FreeformTool(ToolModel):
    """A function of the caller's whose input is text, or text of a grammar, instead of JSON."""

    type: Literal["custom"] = "custom"
    name: str
    description: str | None = None
    format: JsonObject | None = None


class NamespaceTool(ToolModel):
    """Functions under a common name."""

    type: Literal["namespace"] = "namespace"
    name: str
    description: str
    tools: list[JsonObject]


class ToolSearchTool(ToolModel):
    """Lets the model look for tools whose loading is deferred."""

    type: Literal["tool_search"] = "tool_search"
    execution: Literal["server", "client"] | None = None
    description: str | None = None
    parameters: Any = None


class ShellTool(ToolModel):
    """A shell in a container."""

    type: Literal["shell"] = "shell"
    environment: JsonObject | None = None


class LocalShellTool(ToolModel):
    """A shell of the caller's."""

    type: Literal["local_shell"] = "local_shell"


class ApplyPatchTool(ToolModel):
    """Edits of files that the caller applies."""

    type: Literal["apply_patch"] = "apply_patch"


class ProgrammaticToolCallingTool(ToolModel):
    """Lets the model call the other tools from code."""

    type: Literal["programmatic_tool_calling"] = "programmatic_tool_calling"
