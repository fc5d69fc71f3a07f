"""The API document as a judge of answers, stricter than it is to clients: no member is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs

from shared.api.document import document_file
from shared.routes import ROUTES

PROBLEM = "application/problem+json"

Json = dict[str, Any]


@cache
def document() -> Json:
    """The document of the routes, as any app may serve it."""
    return json.loads(document_file(ROUTES))


@cache
def operations() -> dict[str, tuple[str, str, Json]]:
    """Each operation's method, address and description, by its id."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def published() -> set[str]:
    """The ids of the operations that the document must have."""
    return {route.operation.id for route in ROUTES if route.operation.is_published}


def complaints(schema: Json, value: Any) -> list[str]:
    """What is wrong with a value, by a schema of the document."""
    whole = {"$ref": "#/schema", "schema": closed(schema), "components": _components()}
    found = jsonschema_rs.validator_for(whole, validate_formats=True).iter_errors(value)
    return [f"{'/'.join(map(str, each.instance_path))}: {each.message}" for each in found]


@cache
def _components() -> dict[str, Any]:
    return closed(document()["components"])


def closed(schema: Any) -> Any:
    """A schema whose objects have no members but those it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    members = {name: closed(each) for name, each in schema.items()}
    if isinstance(members.get("properties"), dict) and schema.get("type") == "object":
        members.setdefault("additionalProperties", False)
    return members


def unlike(schema: Json, one: Any, other: Any, place: str = "") -> Iterator[str]:
    """The declared members that only one of two documents has.

    What depends on earlier requests is not compared: values, the members of open maps, and more
    than the first entry of lists, which may be empty.
    """
    if isinstance(one, list) and isinstance(other, list):
        for first, second in zip(one[:1], other[:1], strict=False):
            yield from unlike(_merged(schema)["items"], first, second, f"{place}/0")
    if isinstance(one, dict) and isinstance(other, dict):
        members = _merged(schema).get("properties", {})
        for name in members.keys() & (one.keys() | other.keys()):
            if name in one and name in other:
                yield from unlike(members[name], one[name], other[name], f"{place}/{name}")
            else:
                yield f"{place}/{name}"


def _merged(schema: Json) -> Json:
    """The properties and the items of a schema, of any of its alternatives."""
    if "$ref" in schema:
        return _merged(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    merged = {"items": {}, **schema, "properties": dict(schema.get("properties", {}))}
    for word in ("anyOf", "oneOf", "allOf"):
        for each in map(_merged, schema.get(word, ())):
            merged["properties"] |= each["properties"]
            merged["items"] = merged["items"] or each["items"]
    return merged


def wrong(operation_id: str, status: int, media_type: str, body: Any) -> list[str]:
    """What is wrong with an answer, by the declaration of its operation."""
    answers = operations()[operation_id][2]["responses"]
    if str(status) not in answers:
        return [f"{operation_id} does not declare {status}"]
    content = answers[str(status)].get("content", {})
    if not content and not media_type:
        return []
    kind = media_type.partition(";")[0]
    if kind not in content:
        return [f"{operation_id} does not declare {kind} with {status}"]
    if kind == PROBLEM and body["code"] not in content[kind]["examples"]:
        return [f"{operation_id} does not declare {status} {body['code']}"]
    return complaints(content[kind]["schema"], body)
