"""The list of tools: plain, valid schemas, from which a client can make every call."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from shared.http.query import Query
from shared.mcp.arguments import Acting
from shared.mcp.schemas import listed
from shared.mcp.tools import TOOLS, Tool

LISTED: dict[str, dict[str, Any]] = {each["name"]: each for each in listed(TOOLS)}
REFUSED_BY_FOUNDRY = {"anyOf", "allOf", "oneOf", "$ref", "$defs", "discriminator"}


def members(schema: Any) -> set[str]:
    """The names of all members at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in members(each)}
    if not isinstance(schema, dict):
        return set()
    return {*schema, *(name for each in schema.values() for name in members(each))}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_schemas_are_valid_whole_and_without_alternatives(tool: Tool) -> None:
    for name in ("inputSchema", "outputSchema"):
        schema = LISTED[tool.name][name]
        jsonschema_rs.meta.validate(schema)
        assert schema["type"] == "object"
        assert members(schema) & REFUSED_BY_FOUNDRY == set()
        assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_argument_is_described_and_taken(tool: Tool) -> None:
    schema = LISTED[tool.name]["inputSchema"]
    assert schema["additionalProperties"] is False
    for name, each in schema["properties"].items():
        assert each["description"], name
        assert each.get("default", "") is not None, name
    fields = [
        field.validation_alias or field.alias or name
        for model in (tool.takes, tool.own)
        for name, field in model.model_fields.items()
    ]
    assert {str(name).removesuffix(".") for name in fields} == set(schema["properties"])


def test_what_acts_takes_a_key_and_says_so() -> None:
    for tool in TOOLS:
        takes_key = "idempotency_key" in LISTED[tool.name]["inputSchema"]["properties"]
        assert takes_key is tool.acts is issubclass(tool.own, Acting)
        assert takes_key is (not tool.hints["readOnlyHint"])
        assert takes_key is ("idempotency_key" in tool.description)


def test_no_argument_is_both_the_routes_and_the_tools() -> None:
    for tool in TOOLS:
        if tool.takes is not Query:
            assert not set(tool.takes.model_fields) & set(tool.own.model_fields)
