"""The list of tools as clients get it, with a JSON schema of what each takes and returns.

The schemas are those of the API document, but whole and plain: Foundry refuses tools whose schemas
have `anyOf` or `allOf`, and other clients follow no references.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from ..documents import JsonObject
from ..http.query import Query
from ..openapi.schemas import Schemas, meanings_of
from .tools import Tool

_NULL = {"type": "null"}
_REFERENCE = "#/components/schemas/"


def listed(tools: Iterable[Tool]) -> list[JsonObject]:
    """The tools as `tools/list` returns them."""
    tools = list(tools)
    types = [each for tool in tools for each in (tool.takes, tool.own, tool.returns)]
    schemas = _Plain(Schemas(types))
    return [
        {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": schemas.of_arguments(tool),
            "outputSchema": schemas.of(tool.returns),
            "annotations": {"title": tool.title, **tool.hints},
        }
        for tool in tools
    ]


@dataclass(frozen=True, slots=True)
class _Plain:
    """Schemas without references and alternatives."""

    schemas: Schemas

    def of(self, declared: Any) -> JsonObject:
        """The schema of a document.

        It lists no values: clients check answers by a list of tools that may be of an earlier
        version of the app, in which a new value did not exist.
        """
        return self._plain(self.schemas.of(declared), is_answer=True)

    def of_arguments(self, tool: Tool) -> JsonObject:
        """The schema of what a tool takes; null need not be sent, so it is left out."""
        parts = [self._arguments(part) for part in (tool.takes, tool.own)]
        properties = {n: s for part in parts for n, s in part.get("properties", {}).items()}
        required = [name for part in parts for name in part.get("required", ())]
        first = {name: properties[name] for name in required}
        return {
            "type": "object",
            "properties": {**first, **properties},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _arguments(self, part: type[BaseModel]) -> JsonObject:
        schema = self._plain(self.schemas.of(part), is_answer=False)
        if issubclass(part, Query):
            properties, meanings = schema.get("properties", {}), meanings_of(part)
            schema["properties"] = {
                name.removesuffix("."): {**each, "description": meanings[name]}
                for name, each in properties.items()
            }
        return schema

    def _plain(self, schema: Any, *, is_answer: bool) -> Any:
        if isinstance(schema, list):
            return [self._plain(each, is_answer=is_answer) for each in cast("list[Any]", schema)]
        if not isinstance(schema, dict):
            return schema
        members = dict(cast("JsonObject", schema))
        if is_answer:
            members.pop("enum", None)
        if reference := members.pop("$ref", None):
            target = self.schemas.components[reference.removeprefix(_REFERENCE)]
            return self._plain({**target, **members}, is_answer=is_answer)
        if alternatives := members.pop("anyOf", None):
            (only,) = [each for each in alternatives if each != _NULL]
            found = {**self._plain(only, is_answer=is_answer), **members}
            return _nullable(found) if is_answer else _present(found)
        return {name: self._plain(each, is_answer=is_answer) for name, each in members.items()}


def _nullable(schema: JsonObject) -> JsonObject:
    """A schema that also allows null; one without a type allows everything."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def _present(schema: JsonObject) -> JsonObject:
    """A schema of what is given or left out, without null as its default."""
    return {name: each for name, each in schema.items() if (name, each) != ("default", None)}
