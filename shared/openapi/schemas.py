"""JSON schemas of the types that routes declare, as components of the API document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from docstring_parser import parse_from_object
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from ..documents import JsonObject
from ..http.query import MAX_PARAMETER_CHARS, PRINTABLE, Query

_REFERENCE = "#/components/schemas/{model}"
_NULL = {"type": "null"}
_OF_A_DOCUMENT = "Document"
_NO_FREE_TEXT = {"enum", "format", "pattern"}


class Schemas:
    """The schemas of a set of types; named types are components, which others refer to."""

    def __init__(self, types: Iterable[Any]) -> None:
        adapters: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
            (each, "validation", TypeAdapter(each)) for each in dict.fromkeys(types)
        ]
        schemas, whole = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE)
        self._schemas = {each: _tidy(schema) for (each, _), schema in schemas.items()}
        components = cast("Mapping[str, JsonObject]", whole.get("$defs", {}))
        tidy = {_name(name): _tidy(schema) for name, schema in components.items()}
        self.components = dict(sorted(tidy.items()))

    def of(self, declared: Any) -> JsonObject:
        """The schema of a type, or a reference to its component."""
        return self._schemas[declared]

    def parameters(self, query: type[Query]) -> Iterator[JsonObject]:
        """The parameters of a query."""
        schema = self._schemas[query]
        if "$ref" in schema:
            schema = self.components.pop(query.__name__)
            self._schemas[query] = schema
        meanings = meanings_of(query)
        for name, each in schema.get("properties", {}).items():
            yield _parameter(name, {**each, "description": meanings[name]})


def meanings_of(query: type[Query]) -> dict[str, str]:
    """The docstrings of a query's fields, by parameter."""
    found: dict[str, str] = {}
    for each in reversed(query.__mro__):
        if issubclass(each, Query):
            for member in parse_from_object(each).params:
                alias = query.model_fields[member.arg_name].alias
                found[alias or member.arg_name] = " ".join((member.description or "").split())
    return found


def _parameter(name: str, schema: JsonObject) -> JsonObject:
    """A query parameter; the schema of a missing one is not part of its own."""
    parameter: JsonObject = {"name": name, "in": "query", "description": schema.pop("description")}
    present = [each for each in schema.pop("anyOf", ()) if each != _NULL]
    schema |= present[0] if present else {}
    if schema.get("default", _NULL) is None:
        del schema["default"]
    if name.endswith("."):  # all parameters that begin with it, as the members of one object
        names = {"pattern": f"^{name[:-1]}\\..+$"}
        schema.pop("default", None)
        parameter |= {"name": name[:-1], "style": "form", "explode": True}
        schema["propertyNames"] = names
        schema["additionalProperties"] = _query_text(schema["additionalProperties"])
    elif schema.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
        schema["uniqueItems"] = True
    return parameter | {"schema": _query_text(schema)}


def _query_text(schema: JsonObject) -> JsonObject:
    """The schema of a parameter; of a free text, with what every text in a query must be."""
    if schema.get("type") != "string" or not schema.keys().isdisjoint(_NO_FREE_TEXT):
        return schema
    return {"maxLength": MAX_PARAMETER_CHARS, **schema, "pattern": PRINTABLE}


def _name(text: str) -> str:
    """The name of a type, or the end of a reference to it, as the document has it."""
    return text.removesuffix(_OF_A_DOCUMENT)


def _tidy(value: Any, *, is_schema: bool = True) -> Any:
    """A schema without titles, which only repeat names, and with descriptions on one line."""
    if isinstance(value, list):
        return [_tidy(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("JsonObject", value)
    tidy: JsonObject = {}
    for name, each in members.items():
        if is_schema and name == "title":
            continue
        if is_schema and name == "description" and isinstance(each, str):
            tidy[name] = " ".join(each.split())
        elif is_schema and name == "$ref":
            tidy[name] = _name(each)
        elif is_schema and name in {"default", "const", "enum", "required"}:
            tidy[name] = each
        else:
            tidy[name] = _tidy(each, is_schema=name not in {"properties", "$defs"})
    return _map(tidy) if is_schema and len(tidy.get("patternProperties", ())) == 1 else tidy


def _map(schema: JsonObject) -> JsonObject:
    """A map whose names have a pattern, in the form that generators of clients read as a map."""
    ((pattern, values),) = schema.pop("patternProperties").items()
    names = {**schema.get("propertyNames", {}), "pattern": pattern}
    return schema | {"propertyNames": names, "additionalProperties": values}
