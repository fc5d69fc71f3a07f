"""Builds the API document from the routes of the app.

OpenAPI 3.1.1: generators of clients refuse 3.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from ..config import AuthMode
from ..documents import JsonObject
from ..http.idempotency import HEADER, MAX_KEY_CHARS
from ..http.operation import Operation, Tag
from ..http.principal import OWNER_PARAMETER
from ..problems import ProblemDocument, ProblemKind
from . import API_VERSION
from .answers import JSON, SHARED_HEADERS, Answers, header_json, problem_example, shown
from .schemas import Schemas
from .security import SCHEMES, alternatives

VERSION = "3.1.1"

DESCRIPTION = """\
Azure AI Foundry agents and models behind HTTP: stateful threads, streams, jobs, usage and audit.

Everything stored belongs to the caller who created it; another owner's objects answer like objects
that do not exist. Errors are problem documents (RFC 9457) with one of the codes of `ProblemCode`.
"""

TAGS = {
    Tag.MESSAGES: "Messages without a thread.",
    Tag.THREADS: "Conversations with a history.",
    Tag.JOBS: "Messages that are answered later, in order, exactly once.",
    Tag.ORCHESTRATION: "Messages to any of the configured models.",
    Tag.MCP: "The same as tools for agents and editors.",
    Tag.CATALOGUE: "What can be asked for, and by whom.",
    Tag.USAGE: "Metrics, usage and cost.",
    Tag.AUDIT: "The recorded actions of an owner.",
    Tag.KEYS: "Keys that the app issues to its clients.",
    Tag.OPENAI: "The OpenAI-compatible API, for the clients of OpenAI.",
    Tag.PRIVACY: "Erasure of an owner's data.",
    Tag.SERVICE: "The state of the service, and this document.",
}

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")

REQUEST_ID = {
    "name": "x-request-id",
    "in": "header",
    "description": "Your id of the request: letters, digits and `._:-`; another is replaced.",
    "schema": {"type": "string"},
}
OWNER = {
    "name": OWNER_PARAMETER,
    "in": "query",
    "description": "Admins only: act for this owner, `<tenant id>:<object id>` or `key:<key id>`.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": "Any text, a new one for each action: a request that is repeated with it has "
    "its effect once and gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
}  # no example: the docs page would send it with every request
SHARED_PARAMETERS = {"RequestId": REQUEST_ID, "Owner": OWNER, "IdempotencyKey": IDEMPOTENCY_KEY}

WEBHOOK_HEADERS = {
    "webhook-id": "The id of the delivery: the same in every attempt.",
    "webhook-timestamp": "When this attempt was made, in seconds since 1970.",
    "webhook-signature": "`v1,` and the signature, as Standard Webhooks defines it.",
}


_OWN = {ProblemKind.NOT_READY}
"""Kinds of one operation, which has an example of its own."""


class Described(Protocol):
    """What the document needs of a route."""

    @property
    def method(self) -> str:
        """The method."""
        ...

    @property
    def template(self) -> str:
        """The address without the first slash."""
        ...

    @property
    def operation(self) -> Operation:
        """The declaration."""
        ...

    is_open: ClassVar[bool]
    """Whether it needs no key and no token."""


def api_document(
    routes: Iterable[Described], examples: Mapping[str, Any], mode: AuthMode | None = None
) -> JsonObject:
    """The document of the published routes, for an app with a ``mode`` of access, or for any."""
    published = [route for route in routes if route.operation.is_published]
    schemas = Schemas(_types(published))
    security = alternatives(mode)
    paths: JsonObject = {}
    for route in published:
        described = _Described(route, schemas, examples.get(route.operation.id, {}))
        path = paths.setdefault(f"/{route.template}", {})
        path[route.method.lower()] = described.to_json()
    schemes = {name for each in security for name in each}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Agent Operating System",
            "version": API_VERSION,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The app that serves this document."}],
        "security": security,
        "tags": [{"name": str(tag), "description": text} for tag, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "parameters": SHARED_PARAMETERS,
            "headers": {each.name: header_json(each) for each in SHARED_HEADERS},
            "examples": {
                k.name: {"value": problem_example(k)} for k in _kinds(published) if k not in _OWN
            },
            "securitySchemes": {n: each for n, each in SCHEMES.items() if n in schemes},
        },
    }


def _kinds(routes: Sequence[Described]) -> list[ProblemKind]:
    """The kinds of problems that the routes may answer with."""
    native = [route for route in routes if route.operation.errors is None]
    found = {kind for r in native for kind in r.operation.problem_kinds(is_open=r.is_open)}
    return [kind for kind in ProblemKind if kind in found]


def to_bytes(document: JsonObject) -> bytes:
    """The document as a file."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _types(routes: Sequence[Described]) -> Iterator[Any]:
    """The types that the operations declare."""
    yield ProblemDocument
    for route in routes:
        operation = route.operation
        yield operation.query
        yield from (each for each in (operation.body, operation.callback) if each is not None)
        yield from operation.events.values()
        yield from operation.problem_documents.values()
        if operation.errors is not None:
            yield operation.errors.document
        for result in operation.results.values():
            yield from result.also.values()
            if result.document is not None:
                yield result.document


class _Described:
    """One operation of the document."""

    def __init__(self, route: Described, schemas: Schemas, examples: JsonObject) -> None:
        self._route = route
        self._operation = route.operation
        self._schemas = schemas
        self._examples = examples

    def to_json(self) -> JsonObject:
        operation, answers = (
            self._operation,
            Answers(self._schemas, self._examples.get("answers", {})),
        )
        document: JsonObject = {
            "operationId": operation.id,
            "tags": [str(operation.tag)],
            "summary": operation.summary,
            "description": operation.description or f"{operation.summary}.",
            "parameters": self._parameters(),
        }
        if operation.body is not None:
            schema = self._schemas.of(operation.body)
            content = {JSON: shown(schema, self._examples.get("body"))}
            is_required = any(f.is_required() for f in operation.body.model_fields.values())
            document["requestBody"] = {"required": is_required, "content": content}
        document["responses"] = answers.of(operation, is_open=self._route.is_open)
        if operation.callback is not None:
            document["callbacks"] = {"jobEnded": self._callback()}
        if self._route.is_open:
            document["security"] = []
        return document

    def _parameters(self) -> list[JsonObject]:
        operation, names = self._operation, ["RequestId"]
        names += [] if self._route.is_open else ["Owner"]
        names += ["IdempotencyKey"] if operation.is_keyed else []
        return [
            *map(_path_parameter, _PATH_PARAMETER.findall(self._route.template)),
            *self._schemas.parameters(operation.query),
            *(_header_parameter(each.name, each.meaning) for each in operation.headers),
            *({"$ref": f"#/components/parameters/{name}"} for name in names),
        ]

    def _callback(self) -> JsonObject:
        schema = self._schemas.of(self._operation.callback)
        content = shown(schema, self._examples.get("callback"))
        post: JsonObject = {
            "operationId": "jobEnded",
            "summary": "The job has ended",
            "description": "Sent until it is answered with 2xx; verify its signature.",
            "parameters": [
                _header_parameter(name, meaning) | {"required": True}
                for name, meaning in WEBHOOK_HEADERS.items()
            ],
            "requestBody": {"required": True, "content": {JSON: content}},
            "responses": {
                "2XX": {"description": "Received; it is not sent again."},
                "4XX": {"description": "Not received; it is sent again later."},
            },
        }
        return {"{$request.body#/callback_url}": {"post": post}}


def _path_parameter(name: str) -> JsonObject:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The `{name}` of the object.",
        "schema": {"type": "string"},
        "example": f"{name.removesuffix('_id')}_01JBN7V9D3QK2H8M4T6R0XW5YZ",
    }


def _header_parameter(name: str, meaning: str) -> JsonObject:
    return {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
