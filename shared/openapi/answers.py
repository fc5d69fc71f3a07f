"""The answers of an operation in the API document: results, streams and problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import Any

from ..documents import JsonObject
from ..http.operation import ErrorForm, Header, Operation, Result
from ..problems import Problem, ProblemDocument, ProblemKind
from .schemas import Schemas

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
PROBLEM_JSON = "application/problem+json"

EXAMPLE_REQUEST_ID = "req_01JBN7V9D3QK2H8M4T6R0XW5YZ"

COMMON = (
    Header("x-request-id", "The id of the request: its own, or a new one.", EXAMPLE_REQUEST_ID),
    Header(
        "x-overhead-ms",
        "Milliseconds spent in the app and not in Foundry; absent from streams.",
        "3.14",
        {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2}$"},
    ),
)
RETRY_AFTER = Header(
    "Retry-After", "Seconds to wait before trying again, where known.", "5", {"type": "integer"}
)
CHALLENGE = Header("WWW-Authenticate", "How to authenticate.", "Bearer")
SHARED_HEADERS = (*COMMON, RETRY_AFTER, CHALLENGE)
"""Components of the document, which answers refer to."""

_OK = str(HTTPStatus.OK.value)
_REPEATABLE = {
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Statuses of problems that may say when to try again."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Describes the answers of one operation."""

    schemas: Schemas
    examples: Mapping[str, Any]
    """Bodies of answers by status, executed once."""

    def of(self, operation: Operation, *, is_open: bool) -> JsonObject:
        """All answers by status."""
        answers = {
            str(int(status)): self._result(operation, str(int(status)), result)
            for status, result in operation.results.items()
        }
        kinds = operation.problem_kinds(is_open=is_open)
        if operation.errors is not None:
            return dict(sorted({**answers, **self._errors(kinds, operation.errors)}.items()))
        for status, group in groupby(kinds, lambda kind: kind.status):
            problems = self._problems(status, list(group), operation)
            answers[str(status)] = _either(answers.get(str(status)), problems)
        return dict(sorted(answers.items()))

    def _result(self, operation: Operation, status: str, result: Result) -> JsonObject:
        content: JsonObject = {}
        if result.document is not None:
            schema = self.schemas.of(result.document)
            content[JSON] = shown(schema, self.examples.get(status))
        if operation.events and status == _OK:
            content[EVENT_STREAM] = {
                "schema": self._events(operation.events),
                "examples": {
                    event["event"]: {"value": event}
                    for event in self.examples.get(EVENT_STREAM, ())
                },
            }
        for media_type, declared in result.also.items():
            content[media_type] = shown(self.schemas.of(declared), self.examples.get(media_type))
        answer: JsonObject = {
            "description": result.meaning,
            "headers": _headers((*COMMON, *result.headers)),
        }
        if content:
            answer["content"] = content
        if result.links:
            answer["links"] = {
                target: {
                    "operationId": target,
                    "parameters": {member: f"$response.body#/{member}"},
                }
                for target, member in result.links.items()
            }
        return answer

    def _events(self, events: Mapping[str, Any]) -> JsonObject:
        """The schema of each event of a stream, as a parser of server-sent events returns it."""
        return {
            "oneOf": [
                {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {
                        "event": {"const": str(name)},
                        "data": {
                            "type": "string",
                            "contentMediaType": JSON,
                            "contentSchema": self.schemas.of(payload),
                        },
                    },
                }
                for name, payload in events.items()
            ]
        }

    def _errors(self, kinds: list[ProblemKind], form: ErrorForm) -> JsonObject:
        """Errors in a form of their own, by status."""
        found: dict[int, dict[str, Any]] = {}
        meanings: dict[int, list[str]] = {}
        for kind in kinds:
            status, shown_as = form.show(
                Problem(kind, f"{kind.meaning[0].upper()}{kind.meaning[1:]}.")
            )
            found.setdefault(status, {})[kind.code] = {"value": shown_as}
            meanings.setdefault(status, []).append(f"- {kind.meaning}.")
        schema = self.schemas.of(form.document)
        return {
            str(status): {
                "description": "\n".join(meanings[status]),
                "headers": _headers(_headers_of(status)),
                "content": {JSON: {"schema": schema, "examples": examples}},
            }
            for status, examples in found.items()
        }

    def _problems(self, status: int, kinds: list[ProblemKind], operation: Operation) -> JsonObject:
        headers = _headers_of(status)
        declared = operation.problem_documents.get(status, ProblemDocument)
        listed = [f"`{kind.code}`: {kind.meaning}." for kind in kinds]
        examples: JsonObject = {
            kind.code: {"$ref": f"#/components/examples/{kind.name}"} for kind in kinds
        }
        if declared is not ProblemDocument:
            examples[kinds[0].code] = {"value": self.examples.get(str(status))}
        return {
            "description": "\n".join(f"- {each}" for each in listed) if listed[1:] else listed[0],
            "headers": _headers(headers),
            "content": {PROBLEM_JSON: {"schema": self.schemas.of(declared), "examples": examples}},
        }


def _headers_of(status: int) -> list[Header]:
    """The headers of an error."""
    headers = [*COMMON]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append(CHALLENGE)
    if status in _REPEATABLE:
        headers.append(RETRY_AFTER)
    return headers


def _either(result: JsonObject | None, problems: JsonObject) -> JsonObject:
    """The answer with a status that both a result and problems may have."""
    if result is None:
        return problems
    return {
        "description": f"{result['description']}\n\n{problems['description']}",
        "headers": {**result["headers"], **problems["headers"]},
        "content": {**result["content"], **problems["content"]},
    }


def _headers(headers: Iterable[Header]) -> JsonObject:
    return {
        each.name: {"$ref": f"#/components/headers/{each.name}"}
        if each in SHARED_HEADERS
        else header_json(each)
        for each in headers
    }


def shown(schema: JsonObject, example: Any) -> JsonObject:
    """A media type with its example; a test finds the operations without one."""
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def header_json(header: Header) -> JsonObject:
    """A header in the API document."""
    is_number = header.schema["type"] == "integer"
    return {
        "description": header.meaning,
        "schema": dict(header.schema),
        "example": int(header.example) if is_number else header.example,
    }


def problem_example(kind: ProblemKind) -> JsonObject:
    """A problem of a kind."""
    meaning = kind.meaning[0].upper() + kind.meaning[1:]
    return Problem(kind, f"{meaning}.").to_json(EXAMPLE_REQUEST_ID)
