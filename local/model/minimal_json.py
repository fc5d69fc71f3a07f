"""The smallest JSON value that a JSON schema accepts."""

from collections.abc import Callable
from typing import Any, cast

from .base import JsonObject

MAX_SIZE = 100_000
"""Maximum length of a text, in characters, and of a list."""


def minimal_instance(schema: JsonObject) -> Any:
    """Build a minimal valid instance of a schema as structured outputs allow them.

    Knows `$ref` into the same document, `const`, `enum`, `anyOf`/`oneOf`/`allOf`, objects with
    required properties, arrays with `minItems`, and the lower bounds of strings and numbers. For
    any other schema, such as an infinitely recursive one, it returns an empty object.
    """
    try:
        return _instance(schema, schema)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return {}


def _instance(schema: JsonObject, root: JsonObject) -> Any:
    schema = _resolve(schema, root)
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum"):
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return _instance(schema[keyword][0], root)
    return _BY_TYPE[_type_of(schema)](schema, root)


def _resolve(schema: JsonObject, root: JsonObject) -> JsonObject:
    if "$ref" in schema:
        found: Any = root
        for key in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[key] if key != "#" else found
        return _resolve(cast("JsonObject", found), root)
    merged: JsonObject = {**schema}
    for part in schema.get("allOf", []):
        resolved = _resolve(part, root)
        merged["properties"] = {**merged.get("properties", {}), **resolved.get("properties", {})}
        merged["required"] = [*merged.get("required", []), *resolved.get("required", [])]
        merged = {**resolved, **merged}
    return merged


def _type_of(schema: JsonObject) -> str:
    declared: Any = schema.get("type", "object" if "properties" in schema else "null")
    return cast("list[str]", declared)[0] if isinstance(declared, list) else declared


def _object(schema: JsonObject, root: JsonObject) -> JsonObject:
    properties = schema.get("properties", {})
    return {name: _instance(properties.get(name, {}), root) for name in schema.get("required", [])}


def _array(schema: JsonObject, root: JsonObject) -> list[Any]:
    return [_instance(schema.get("items", {}), root)] * _size(schema, "minItems")


def _string(schema: JsonObject, _: JsonObject) -> str:
    return "x" * _size(schema, "minLength")


def _size(schema: JsonObject, keyword: str) -> int:
    size = int(schema.get(keyword, 0))
    if size > MAX_SIZE:
        raise ValueError(keyword)
    return size


def _number(schema: JsonObject, _: JsonObject) -> float:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return schema.get("minimum", 0)


_BY_TYPE: dict[str, Callable[[JsonObject, JsonObject], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _number,
    "boolean": lambda _schema, _root: False,
    "null": lambda _schema, _root: None,
}
