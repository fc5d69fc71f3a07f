"""The API document as a judge of answers, stricter than it is to clients: no member is unknown."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs

from shared.api.document import document_file
from shared.routes import ROUTES

PROBLEM = "application/problem+json"


@cache
def document() -> dict[str, Any]:
    """The document of the routes, as any app may serve it."""
    return json.loads(document_file(ROUTES))


@cache
def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Each operation's method, address and description, by its id."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def published() -> set[str]:
    """The ids of the operations that the document must have."""
    return {route.operation.id for route in ROUTES if route.operation.is_published}


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
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
