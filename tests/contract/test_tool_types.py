"""What we send for tools, content and formats, against the types of the official packages."""

from __future__ import annotations

import copy
import json
import re
import types
import typing
from functools import cache
from typing import Any, Literal

import pytest
from azure.ai.projects.models import Tool as OfficialTool
from openai.lib._pydantic import to_strict_json_schema
from openai.types.responses import (
    EasyInputMessageParam,
    ResponseFormatTextJSONSchemaConfigParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ToolParam,
)
from openai.types.responses import response_input_item_param as item
from openai.types.responses.response_create_params import ToolChoice
from pydantic import BaseModel, TypeAdapter

from shared.config import FoundryAgentServiceConfig
from shared.foundry.content import file_part, image_part, user_message
from shared.foundry.errors import InvalidRequestError
from shared.foundry.structured import response_format
from shared.foundry.tools import (
    NAMED_TOOLS,
    FunctionOutput,
    Toolbox,
    answer_approvals,
    parse_tool,
    parse_tool_choice,
    tool,
)
from shared.foundry.tools.catalogue import TOOL_TYPES

OPENAI_TOOLS: dict[str, Any] = {
    typing.get_args(typing.get_type_hints(param)["type"])[0]: param
    for param in typing.get_args(ToolParam)
}
OLDER_NAMES = {"memory_search"}

CONNECTION: dict[str, Any] = {"project_connection_id": "/connections/c"}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION: dict[str, Any] = {"name": "f", "description": "F.", "parameters": SCHEMA}
QUEUE: dict[str, Any] = {
    "type": "storage_queue",
    "storage_queue": {"queue_service_endpoint": "https://q", "queue_name": "q"},
}

EXAMPLES: list[dict[str, Any]] = [
    {"type": "function", **FUNCTION, "strict": True},
    {"type": "code_interpreter", "container": "cntr_1"},
    {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}},
    {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 5},
    {
        "type": "web_search",
        "user_location": {"type": "approximate", "country": "NL"},
        "filters": {"allowed_domains": ["example.com"]},
    },
    {"type": "web_search_preview", "search_context_size": "low"},
    {"type": "mcp", "server_label": "s", "server_url": "https://s", "require_approval": "never"},
    {
        "type": "mcp",
        "server_label": "s",
        "server_url": "https://s",
        "allowed_tools": ["a"],
        "require_approval": {"always": {"tool_names": ["a"]}},
    },
    {"type": "image_generation", "quality": "low", "size": "1024x1024"},
    {"type": "computer"},
    {
        "type": "computer_use_preview",
        "environment": "browser",
        "display_width": 800,
        "display_height": 600,
    },
    {"type": "custom", "name": "sql", "description": "Run SQL.", "format": {"type": "text"}},
    {"type": "namespace", "name": "n", "description": "N.", "tools": []},
    {"type": "tool_search"},
    {"type": "shell"},
    {"type": "local_shell"},
    {"type": "apply_patch"},
    {"type": "programmatic_tool_calling"},
    {"type": "bing_grounding", "bing_grounding": {"search_configurations": [CONNECTION]}},
    {
        "type": "bing_custom_search_preview",
        "bing_custom_search_preview": {
            "search_configurations": [{**CONNECTION, "instance_name": "i"}]
        },
    },
    {
        "type": "azure_ai_search",
        "azure_ai_search": {"indexes": [{**CONNECTION, "index_name": "i", "query_type": "simple"}]},
    },
    {
        "type": "openapi",
        "openapi": {"name": "w", "spec": {"openapi": "3.1.0"}, "auth": {"type": "anonymous"}},
    },
    {
        "type": "azure_function",
        "azure_function": {"function": FUNCTION, "input_binding": QUEUE, "output_binding": QUEUE},
    },
    {"type": "memory_search_preview", "memory_store_name": "m", "scope": "{{$userId}}"},
    {"type": "memory_search", "memory_store_name": "m", "scope": "s"},
    {"type": "a2a", "a2a_version": "1.0", "base_url": "https://a"},
    {"type": "a2a_preview", "base_url": "https://a"},
    {"type": "browser_automation", "browser_automation": {"connection": CONNECTION}},
    {
        "type": "browser_automation_preview",
        "browser_automation_preview": {"connection": CONNECTION},
    },
    {
        "type": "sharepoint_grounding_preview",
        "sharepoint_grounding_preview": {"project_connections": [CONNECTION]},
    },
    {
        "type": "fabric_dataagent_preview",
        "fabric_dataagent_preview": {"project_connections": [CONNECTION]},
    },
    {"type": "work_iq_preview", **CONNECTION},
    {"type": "fabric_iq_preview", **CONNECTION, "server_label": "s"},
    {"type": "web_iq_preview", **CONNECTION, "require_approval": "never"},
    {
        "type": "capture_structured_outputs",
        "outputs": {"name": "o", "description": "O.", "schema": SCHEMA, "strict": True},
    },
    {"type": "github_copilot_toolset_preview"},
    {"type": "microsoft_copilot_toolset_preview"},
]


@cache
def adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)


def check(param: Any, body: dict[str, Any]) -> None:
    """Validate strictly against a TypedDict, and refuse fields that it does not have."""
    adapter(param).validate_json(json.dumps(body), strict=True)
    assert set(body) <= set(typing.get_type_hints(param))


def kind(example: dict[str, Any]) -> str:
    return str(example["type"])


def _required_paths(fields: dict[str, Any]) -> typing.Iterator[tuple[str, ...]]:
    """The required fields of a definition, those of its objects included."""
    for name, wanted in fields.items():
        if isinstance(wanted, tuple):  # a field with a default
            continue
        yield (name,)
        for inner in _nested(wanted):
            yield (name, *inner)


def _nested(wanted: Any) -> typing.Iterator[tuple[str, ...]]:
    if typing.get_origin(wanted) is list:
        for inner in _nested(typing.get_args(wanted)[0]):
            yield ("0", *inner)
    elif isinstance(wanted, type) and issubclass(wanted, BaseModel):
        fields = {name: field.annotation for name, field in wanted.model_fields.items()}
        yield from _required_paths(fields)


def test_the_catalogue_has_every_tool_of_the_official_packages() -> None:
    official = set(OfficialTool.__mapping__) | set(OPENAI_TOOLS)
    assert official == TOOL_TYPES.keys() - OLDER_NAMES
    assert {kind(example) for example in EXAMPLES} == TOOL_TYPES.keys()


@pytest.mark.parametrize("example", EXAMPLES, ids=kind)
def test_a_tool_goes_out_as_it_came_in(example: dict[str, Any]) -> None:
    sent = parse_tool(example)
    assert {**sent, **example} == sent
    assert parse_tool({**example, "brand_new": {"a": None}})["brand_new"] == {"a": None}


@pytest.mark.parametrize("example", [e for e in EXAMPLES if kind(e) in OPENAI_TOOLS], ids=kind)
def test_a_tool_fits_the_openai_package(example: dict[str, Any]) -> None:
    check(OPENAI_TOOLS[kind(example)], parse_tool(example))


@pytest.mark.parametrize("name", sorted(OfficialTool.__mapping__))
def test_a_tool_has_the_fields_of_the_projects_package(name: str) -> None:
    ours = TOOL_TYPES[name].keys()
    official = typing.get_type_hints(OfficialTool.__mapping__[name], localns=_official_names())
    own = {field: official[field] for field in OfficialTool.__mapping__[name].__annotations__}
    assert set(ours) <= set(own), "a field that the service does not know"
    required = {field for field, hint in own.items() if not _is_optional(hint)} - {"type"}
    assert required <= set(ours)


REQUIRED = [
    (example, path) for example in EXAMPLES for path in _required_paths(TOOL_TYPES[kind(example)])
]


@pytest.mark.parametrize(("example", "path"), REQUIRED, ids=[".".join(p) for _, p in REQUIRED])
def test_a_required_field_that_is_missing_is_named(
    example: dict[str, Any], path: tuple[str, ...]
) -> None:
    lacking = copy.deepcopy(example)
    place: Any = lacking
    for step in path[:-1]:
        place = place[int(step) if isinstance(place, list) else step]
    del place[path[-1]]
    with pytest.raises(InvalidRequestError, match=rf"{re.escape('.'.join(path))}: Field required"):
        parse_tool(lacking)


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"type": "file_search", "vector_store_ids": "vs_1"}, "vector_store_ids"),
        ({"type": "function", "name": "f", "parameters": "{}"}, "parameters"),
        ({"type": "code_interpreter", "container": {"type": "mine"}}, "container"),
        ({"type": "bing_grounding", "bing_grounding": {"search_configurations": []}}, "search_c"),
        (
            {"type": "azure_ai_search", "azure_ai_search": {"indexes": [{}, {}]}},
            "azure_ai_search.indexes",
        ),
    ],
    ids=str,
)
def test_a_field_of_another_type_is_named(definition: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"not well formed: .*{field}"):
        parse_tool(definition)


def test_what_a_definition_leaves_out_is_completed() -> None:
    assert parse_tool({"type": "function", "name": "f", "parameters": {}})["strict"] is False
    assert parse_tool({"type": "code_interpreter"})["container"] == {"type": "auto"}
    files = {"file_ids": ["file_1"]}
    assert parse_tool({"type": "code_interpreter", "container": files})["container"] == {
        "type": "auto",
        **files,
    }
    city = parse_tool({"type": "web_search", "user_location": {"city": "Delft"}, "filters": None})
    assert city == {
        "type": "web_search",
        "user_location": {"type": "approximate", "city": "Delft"},
    }


def test_tools_by_name_and_custom_tools_fit() -> None:
    @tool
    async def lookup(key: str, limit: int | None = None) -> str:
        """Look something up.

        Args:
            key: What to look up.
            limit: How many results.
        """
        return f"{key} {limit}"

    config = FoundryAgentServiceConfig(
        vector_store_ids="vs_1", search_connection_id="/c", search_index="i"
    )
    definitions = Toolbox([lookup], config=config).definitions(["lookup", *NAMED_TOOLS])
    kinds = [kind(definition) for definition in definitions]
    wanted = ["azure_ai_search", "code_interpreter", "file_search", "function", "web_search"]
    assert sorted(kinds) == wanted
    for definition in definitions:
        if kind(definition) in OPENAI_TOOLS:
            check(OPENAI_TOOLS[kind(definition)], definition)


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "auto",
        "required",
        {"type": "function", "name": "f"},
        {"type": "mcp", "server_label": "s", "name": "t"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        {"type": "file_search"},
        {"type": "code_interpreter"},
    ],
    ids=str,
)
def test_tool_choices_fit(choice: Any) -> None:
    sent = parse_tool_choice(choice)
    assert sent == choice
    adapter(ToolChoice).validate_json(json.dumps(sent), strict=True)


@pytest.mark.parametrize("choice", ["sometimes", {}, {"type": "function"}, {"type": "mcp"}])
def test_a_tool_choice_that_cannot_be_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        parse_tool_choice(choice)


async def test_answers_to_calls_and_approvals_fit() -> None:
    check(item.FunctionCallOutput, FunctionOutput("call_1", "{}", succeeded=True).to_item())
    request = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "n", "server_label": "s"}

    async def yes(*_: Any) -> bool:
        return True

    for answer in [*await answer_approvals([request]), *await answer_approvals([request], yes)]:
        check(item.McpApprovalResponse, answer)


def test_messages_with_images_and_files_fit() -> None:
    parts = {
        "image": image_part(b"\x89PNG\r\n\x1a\n", "high"),
        "web image": image_part("https://example.com/a.png"),
        "uploaded": file_part(file_id="file_1"),
        "web file": file_part(file_url="https://example.com/a.pdf"),
        "inline": file_part(data=b"%PDF-1.7", filename="a.pdf"),
    }
    for name, part in parts.items():
        check(ResponseInputImageParam if "image" in name else ResponseInputFileParam, part)
    check(EasyInputMessageParam, user_message("hi"))
    check(EasyInputMessageParam, user_message("hi", list(parts.values())))


class Step(BaseModel):
    text: str
    kind: Literal["a", "b"] = "a"


class Plan(BaseModel):
    steps: list[Step]
    last: Step | None = None
    note: str = ""


def test_formats_fit_and_are_as_strict_as_the_official_ones() -> None:
    for wanted in (Plan, SCHEMA, {"type": "json_schema", "name": "n", "schema": SCHEMA}):
        check(ResponseFormatTextJSONSchemaConfigParam, response_format(wanted).to_json())
    official = _without_defaults(to_strict_json_schema(Plan))
    assert response_format(Plan).schema == official


def _without_defaults(schema: Any) -> Any:
    """The schema without `default`, which strict mode refuses and the package leaves in."""
    if isinstance(schema, dict):
        members = typing.cast("dict[str, Any]", schema).items()
        return {key: _without_defaults(value) for key, value in members if key != "default"}
    if isinstance(schema, list):
        return [_without_defaults(member) for member in typing.cast("list[Any]", schema)]
    return schema


def _official_names() -> dict[str, Any]:
    from azure.ai.projects import _unions, models

    return {"_models": models, "_unions": _unions}


def _is_optional(hint: Any) -> bool:
    return types.NoneType in typing.get_args(hint)
