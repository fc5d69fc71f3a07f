"""Every tool there is, told apart by `type`, and the ways to say which one to use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, TypeAdapter, ValidationError

from ..errors import InvalidRequestError
from ..wire_json import JsonObject
from .foundry_tools import (
    A2APreviewTool,
    A2ATool,
    AzureAISearchTool,
    AzureFunctionTool,
    BingCustomSearchTool,
    BingGroundingTool,
    BrowserAutomationPreviewTool,
    BrowserAutomationTool,
    CaptureStructuredOutputsTool,
    FabricIQTool,
    FabricTool,
    GitHubCopilotToolset,
    MemorySearchTool,
    MicrosoftCopilotToolset,
    OpenApiTool,
    SharepointTool,
    WebIQTool,
    WorkIQTool,
)
from .model_tools import (
    ApplyPatchTool,
    CodeInterpreterTool,
    ComputerTool,
    ComputerUsePreviewTool,
    FileSearchTool,
    FreeformTool,
    FunctionTool,
    ImageGenerationTool,
    LocalShellTool,
    McpTool,
    NamespaceTool,
    ProgrammaticToolCallingTool,
    ShellTool,
    ToolModel,
    ToolPart,
    ToolSearchTool,
    WebSearchPreviewTool,
    WebSearchTool,
)
from .validation import explain

AnyTool: TypeAlias = Annotated[
    FunctionTool
    | CodeInterpreterTool
    | FileSearchTool
    | WebSearchTool
    | WebSearchPreviewTool
    | McpTool
    | ImageGenerationTool
    | ComputerTool
    | ComputerUsePreviewTool
    | FreeformTool
    | NamespaceTool
    | ToolSearchTool
    | ShellTool
    | LocalShellTool
    | ApplyPatchTool
    | ProgrammaticToolCallingTool
    | BingGroundingTool
    | BingCustomSearchTool
    | AzureAISearchTool
    | OpenApiTool
    | AzureFunctionTool
    | MemorySearchTool
    | A2ATool
    | A2APreviewTool
    | BrowserAutomationTool
    | BrowserAutomationPreviewTool
    | SharepointTool
    | FabricTool
    | WorkIQTool
    | FabricIQTool
    | WebIQTool
    | CaptureStructuredOutputsTool
    | GitHubCopilotToolset
    | MicrosoftCopilotToolset,
    Field(discriminator="type"),
]


class FunctionChoice(ToolPart):
    """Call this function."""

    type: Literal["function"] = "function"
    name: str


class McpChoice(ToolPart):
    """Call a tool of this MCP server."""

    type: Literal["mcp"] = "mcp"
    server_label: str
    name: str | None = None


class AllowedToolsChoice(ToolPart):
    """Choose among these tools only."""

    type: Literal["allowed_tools"] = "allowed_tools"
    mode: Literal["auto", "required"]
    tools: list[JsonObject]


class HostedToolChoice(ToolPart):
    """Use this tool of the service's."""

    type: str


ToolChoice: TypeAlias = (
    Literal["none", "auto", "required"]
    | FunctionChoice
    | McpChoice
    | AllowedToolsChoice
    | HostedToolChoice
)

_CHOICES: dict[str, type[ToolPart]] = {
    "function": FunctionChoice,
    "mcp": McpChoice,
    "allowed_tools": AllowedToolsChoice,
}


def _types() -> frozenset[str]:
    models: tuple[type[ToolModel], ...] = get_args(get_args(AnyTool)[0])
    kinds = (get_args(model.model_fields["type"].annotation) for model in models)
    return frozenset(kind for literals in kinds for kind in literals)


TOOL_TYPES = _types()
"""The values of `type` that the catalogue knows."""


@cache
def _adapter() -> TypeAdapter[ToolModel]:
    return TypeAdapter(AnyTool)


def parse_tool(definition: Mapping[str, Any]) -> ToolModel:
    """Check a tool given as an object.

    Raises:
        InvalidRequestError: `unknown_tool`, or saying which field is wrong.
    """
    kind = definition.get("type")
    if kind not in TOOL_TYPES:
        raise InvalidRequestError(
            f"There is no tool of type {kind!r}. Known types are {', '.join(sorted(TOOL_TYPES))}.",
            code="unknown_tool",
        )
    try:
        return _adapter().validate_python(dict(definition))
    except ValidationError as error:
        raise InvalidRequestError(
            f"The tool '{kind}' is not well formed: {explain(error, skip=1)}."
        ) from None


def parse_tool_choice(choice: str | Mapping[str, Any] | ToolPart) -> str | JsonObject:
    """Check a `tool_choice` and give it as it goes on the wire.

    Raises:
        InvalidRequestError: saying what is wrong with it.
    """
    if isinstance(choice, ToolPart):
        return choice.model_dump(mode="json", exclude_none=True)
    if isinstance(choice, str):
        if choice not in {"none", "auto", "required"}:
            raise InvalidRequestError(
                f"tool_choice {choice!r} is not known: use 'none', 'auto' or 'required', or an "
                "object such as {'type': 'function', 'name': ...}."
            )
        return choice
    kind = _CHOICES.get(str(choice.get("type")), HostedToolChoice)
    try:
        return kind.model_validate(dict(choice)).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise InvalidRequestError(f"tool_choice is not well formed: {explain(error)}.") from None
