"""The types of tools, and the required fields of tools and of `tool_choice`.

A tool is an object of the Responses API. Only required fields are checked here, so that a mistake
is reported before anything is sent; other fields are sent unchanged. Names are those of
`azure.ai.projects.models` 2.10 and `openai.types.responses` 3.54.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ..errors import InvalidRequestError
from ..wire_json import JsonObject, explain


class _Part(BaseModel):
    """An object in a definition: unknown fields are kept, nulls are left out."""

    model_config = ConfigDict(defer_build=True, extra="allow", protected_namespaces=())


class _AutoContainer(_Part):
    """A container that the service creates for the code."""

    type: Literal["auto"] = "auto"


class _UserLocation(_Part):
    type: Literal["approximate"] = "approximate"


class _Connection(_Part):
    """A connection of the project, by its resource id."""

    project_connection_id: str


class _BingInstance(_Connection):
    instance_name: str


class _BingSearch(_Part):
    search_configurations: Annotated[list[_Connection], Field(min_length=1, max_length=1)]


class _BingCustomSearch(_Part):
    search_configurations: Annotated[list[_BingInstance], Field(min_length=1, max_length=1)]


class _SearchIndexes(_Part):
    indexes: Annotated[list[_Part], Field(min_length=1, max_length=1)]


class _OpenApi(_Part):
    name: str
    spec: JsonObject
    auth: JsonObject


class _AzureFunction(_Part):
    function: JsonObject
    input_binding: JsonObject
    output_binding: JsonObject


class _Browser(_Part):
    connection: _Connection


class _Connections(_Part):
    project_connections: list[_Connection]


_LOCATION = (_UserLocation | None, None)
_CONNECTION = {"project_connection_id": str}
_MEMORY = {"memory_store_name": str, "scope": str}
_SCREEN = {
    "environment": Literal["windows", "mac", "linux", "ubuntu", "browser"],
    "display_width": int,
    "display_height": int,
}

TOOL_TYPES: dict[str, dict[str, Any]] = {
    "a2a": {"a2a_version": (str, "1.0")},
    "a2a_preview": {},
    "apply_patch": {},
    "azure_ai_search": {"azure_ai_search": _SearchIndexes},
    "azure_function": {"azure_function": _AzureFunction},
    "bing_custom_search_preview": {"bing_custom_search_preview": _BingCustomSearch},
    "bing_grounding": {"bing_grounding": _BingSearch},
    "browser_automation": {"browser_automation": _Browser},
    "browser_automation_preview": {"browser_automation_preview": _Browser},
    "capture_structured_outputs": {"outputs": JsonObject},
    "code_interpreter": {"container": (str | _AutoContainer, _AutoContainer())},
    "computer": {},
    "computer_use_preview": _SCREEN,
    "custom": {"name": str},
    "fabric_dataagent_preview": {"fabric_dataagent_preview": _Connections},
    "fabric_iq_preview": _CONNECTION,
    "file_search": {"vector_store_ids": list[str]},
    "function": {"name": str, "parameters": JsonObject, "strict": (bool, False)},
    "github_copilot_toolset_preview": {},
    "image_generation": {},
    "local_shell": {},
    "mcp": {"server_label": str},
    "memory_search": _MEMORY,
    "memory_search_preview": _MEMORY,
    "microsoft_copilot_toolset_preview": {},
    "namespace": {"name": str, "description": str, "tools": list[JsonObject]},
    "openapi": {"openapi": _OpenApi},
    "programmatic_tool_calling": {},
    "sharepoint_grounding_preview": {"sharepoint_grounding_preview": _Connections},
    "shell": {},
    "tool_search": {},
    "web_iq_preview": _CONNECTION,
    "web_search": {"user_location": _LOCATION},
    "web_search_preview": {"user_location": _LOCATION},
    "work_iq_preview": _CONNECTION,
}
"""Every `type` of a tool, and its required fields: a type, or a type and the default that is sent
where the field is absent."""

_CHOICES: dict[str, dict[str, Any]] = {
    "function": {"name": str},
    "mcp": {"server_label": str},
    "allowed_tools": {"mode": Literal["auto", "required"], "tools": list[JsonObject]},
}
"""The kinds of a `tool_choice` that have required fields; any other is the type of a tool."""


def parse_tool(definition: Mapping[str, Any]) -> JsonObject:
    """Check a tool, and return it in the form that is sent.

    Raises:
        InvalidRequestError: `unknown_tool`, or naming the field that is missing or wrong.
    """
    kind = definition.get("type")
    if kind not in TOOL_TYPES:
        raise InvalidRequestError(
            f"There is no tool of type {kind!r}. Known types are {', '.join(sorted(TOOL_TYPES))}.",
            code="unknown_tool",
        )
    try:
        return _checked(_tool_model(str(kind)), definition)
    except ValidationError as error:
        raise InvalidRequestError(
            f"The tool '{kind}' is not well formed: {explain(error)}."
        ) from None


def parse_tool_choice(choice: str | Mapping[str, Any]) -> str | JsonObject:
    """Check a `tool_choice`, and return it in the form that is sent.

    Raises:
        InvalidRequestError: saying what is wrong with it.
    """
    if isinstance(choice, str):
        if choice not in {"none", "auto", "required"}:
            raise InvalidRequestError(
                f"tool_choice {choice!r} is not known: use 'none', 'auto' or 'required', or an "
                "object such as {'type': 'function', 'name': ...}."
            )
        return choice
    try:
        return _checked(_choice_model(str(choice.get("type"))), choice)
    except ValidationError as error:
        raise InvalidRequestError(f"tool_choice is not well formed: {explain(error)}.") from None


@cache
def _tool_model(kind: str) -> type[_Part]:
    """The pydantic model of a tool type, built on first use because building all is slow."""
    return _model(TOOL_TYPES[kind])


@cache
def _choice_model(kind: str) -> type[_Part]:
    return _model(_CHOICES.get(kind, {}))


def _model(fields: Mapping[str, Any]) -> type[_Part]:
    defaults: dict[str, Any] = {
        name: wanted if isinstance(wanted, tuple) else (wanted, ...)
        for name, wanted in fields.items()
    }
    return create_model("Part", __base__=_Part, type=(str, ...), **defaults)


def _checked(model: type[_Part], definition: Mapping[str, Any]) -> JsonObject:
    return model.model_validate(dict(definition)).model_dump(mode="json", exclude_none=True)
