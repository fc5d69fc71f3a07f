"""Structured answers: the response format of a request, and the object read from its answer.

In strict mode the service makes the model follow the schema, which must then require every property
and allow no others. Answers are validated here in either mode, because some models ignore the
schema.
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/structured-outputs
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError

from ..text import clean
from .errors import InvalidRequestError, ProtocolError
from .judging import MAX_ANSWER_CHARS, MismatchError, Schema, judges
from .schemas import SchemaError
from .wire_json import JsonObject, explain, object_at, objects_at, text_at

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")

_FENCE = "```"
_FENCED_AS = {"", "json"}

_NO_SCHEMAS = {"text", "json_object"}

LIGHT_MODEL_CHARS = 64 * 1024
"""A pydantic model reads an answer of this length in about a millisecond."""

_T = TypeVar("_T")
_ModelT = TypeVar("_ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The text of a response's messages, and the refusal where the model refused."""

    text: str
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat(Generic[_T]):
    """The JSON schema that an answer must follow, and what reads the answer."""

    name: str
    schema: JsonObject
    strict: bool
    model: type[BaseModel] | None = None
    """The pydantic model that answers are read into; None for a plain JSON value."""
    judge: Schema | None = None
    """Validates plain JSON values; None where there is a pydantic model."""

    def ready(self) -> None:
        """Compile the schema, which shows whether it is valid.

        Raises:
            InvalidRequestError: `invalid_response_format`, saying what is wrong with the schema.
        """
        if self.judge is None:
            return
        try:
            self.judge.ready()
        except SchemaError as error:
            raise _invalid(str(error)) from None

    def is_light_for(self, text: str) -> bool:
        """Whether an answer can be validated in this process without blocking the event loop."""
        return self.judge.is_light_for(text) if self.judge else len(text) <= LIGHT_MODEL_CHARS

    def to_json(self) -> JsonObject:
        """The `text.format` field of a request or an agent's definition."""
        return {
            "type": "json_schema",
            "name": self.name,
            "schema": self.schema,
            "strict": self.strict,
        }


@overload
def response_format(
    wanted: type[_ModelT], *, name: str | None = None
) -> ResponseFormat[_ModelT]: ...


@overload
def response_format(
    wanted: Mapping[str, Any], *, name: str | None = None
) -> ResponseFormat[Any]: ...


def response_format(
    wanted: type[BaseModel] | Mapping[str, Any], *, name: str | None = None
) -> ResponseFormat[Any]:
    """Make a response format from a pydantic model or a JSON schema.

    Args:
        wanted: A pydantic model, a JSON schema, or a schema wrapped as in the Responses or the Chat
            Completions API (`{"type": "json_schema", ...}`). A model is sent in strict mode if its
            schema allows it; a bare schema is not strict; a wrapped one has its own `strict`.
        name: 1 to 64 letters, digits, `_` or `-`; default is the model's name or schema's title.

    The size of a schema is checked here; `ResponseFormat.ready` compiles it.

    Raises:
        InvalidRequestError: `invalid_response_format`, saying what is wrong with the format.
    """
    if isinstance(wanted, Mapping):
        return _from_schema(_unwrapped(dict(wanted)), name)
    schema = _with_object_at_root(wanted.model_json_schema())
    try:
        sent, strict = _strict(schema), True
    except _NotStrictError:
        sent, strict = schema, False
    return ResponseFormat(_checked_name(name, wanted.__name__), sent, strict, wanted)


def read_answer(items: Iterable[JsonObject]) -> AnswerText:
    """Read the text and the refusal from the output items of a response."""
    parts = [
        part
        for item in items
        if item.get("type") == "message"
        for part in objects_at(item, "content")
    ]
    text = "".join(text_at(part, "text") or "" for part in parts if _is(part, "output_text"))
    refusal = "".join(text_at(part, "refusal") or "" for part in parts if _is(part, "refusal"))
    return AnswerText(text, refusal or None)


async def parsed(answer: AnswerText, format: ResponseFormat[_T]) -> _T:  # noqa: A002 - as the wire calls it
    """Run `parse_structured`, in a thread if it may take long."""
    if format.is_light_for(answer.text):
        return parse_structured(answer, format)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(judges(), parse_structured, answer, format)


def parse_structured(answer: AnswerText | str, format: ResponseFormat[_T]) -> _T:  # noqa: A002 - as the wire calls it
    """Parse an answer into an instance of the format's pydantic model, or a plain JSON value.

    Raises:
        InvalidRequestError: `refused`, with the model's text, if the model refused to answer;
            `invalid_response_format`, if the schema does not compile.
        ProtocolError: `response_format_mismatch`, naming the first error in the answer.
    """
    if isinstance(answer, str):
        answer = AnswerText(answer)
    if answer.refusal is not None:
        raise InvalidRequestError(f"The model refused to answer: {answer.refusal}", code="refused")
    text = unfenced(answer.text)
    return cast("_T", _as_model(text, format) if format.model else _as_json(text, format))


def unfenced(text: str) -> str:
    """Remove the Markdown code fence that some models put around JSON."""
    stripped = text.strip()
    first, _, rest = stripped.partition("\n")
    kind = first.removeprefix(_FENCE).strip().lower()
    if not first.startswith(_FENCE) or kind not in _FENCED_AS or not rest.endswith(_FENCE):
        return text
    return rest.removesuffix(_FENCE)


def _as_model(text: str, wanted: ResponseFormat[Any]) -> BaseModel:
    assert wanted.model is not None  # noqa: S101 - the caller checked it
    if len(text) > MAX_ANSWER_CHARS:
        raise _mismatch(wanted, f"it has more than {MAX_ANSWER_CHARS} characters")
    try:
        return wanted.model.model_validate_json(text)
    except ValidationError as error:
        raise _mismatch(wanted, explain(error)) from None


def _as_json(text: str, wanted: ResponseFormat[Any]) -> Any:
    assert wanted.judge is not None  # noqa: S101 - a format without a model has a schema
    try:
        return wanted.judge.read(text)
    except SchemaError as error:
        raise _invalid(str(error)) from None
    except MismatchError as error:
        raise _mismatch(wanted, str(error)) from None


def _mismatch(wanted: ResponseFormat[Any], reason: str) -> ProtocolError:
    return ProtocolError(
        f"The answer does not follow the response format '{wanted.name}': {reason}.",
        code="response_format_mismatch",
    )


def _from_schema(wrapped: JsonObject, name: str | None) -> ResponseFormat[Any]:
    schema = _with_object_at_root(object_at(wrapped, "schema"))
    try:
        judge = Schema.of(schema)
    except SchemaError as error:
        raise _invalid(str(error)) from None
    schema = clean(schema)
    given = name or text_at(wrapped, "name")
    fallback = text_at(schema, "title") or "answer"
    strict = wrapped.get("strict") is True
    return ResponseFormat(_checked_name(given, fallback), schema, strict, judge=judge)


def _with_object_at_root(schema: JsonObject) -> JsonObject:
    """Resolve a reference at the schema's root, as pydantic writes it for recursive models."""
    if (reference := text_at(schema, "$ref")) and reference.startswith("#/$defs/"):
        definitions = object_at(schema, "$defs")
        root = object_at(definitions, reference.removeprefix("#/$defs/"))
        schema = {**root, "$defs": definitions}
    if schema.get("type") != "object":
        raise _invalid("the schema must be of type 'object'")
    return schema


def _unwrapped(wanted: JsonObject) -> JsonObject:
    """The object that holds `schema`, `name` and `strict`, in any of the accepted forms."""
    kind = wanted.get("type")
    if kind == "json_schema":
        inner = object_at(wanted, "json_schema") or wanted
        if not object_at(inner, "schema"):
            raise _invalid("'schema' is missing")
        return inner
    if isinstance(kind, str) and kind in _NO_SCHEMAS:
        raise _invalid(f"'{kind}' describes no object: give a JSON schema")
    return {"schema": wanted}


def _checked_name(given: str | None, fallback: str) -> str:
    if given is None:
        return _NOT_IN_NAMES.sub("_", fallback).strip("_")[:64] or "answer"
    if not _NAME.fullmatch(given):
        raise _invalid("its name must be 1 to 64 letters, digits, '_' or '-'")
    return given


def _is(part: JsonObject, kind: str) -> bool:
    return part.get("type") == kind


def _invalid(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The response format cannot be used: {reason}.", code="invalid_response_format"
    )


class _NotStrictError(Exception):
    """Strict mode cannot express the schema, because it allows properties that it does not list."""


_NAMED_SCHEMAS = {"properties", "$defs"}
_SCHEMA_LISTS = {"anyOf", "oneOf", "allOf"}
_NOT_IN_STRICT = {"default", "discriminator"}


def _strict(schema: JsonObject) -> JsonObject:
    """Convert a schema for strict mode: all properties required, no others, no defaults."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    made: JsonObject = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            made[key] = {name: _strict(part) for name, part in object_at(schema, key).items()}
        elif key in _SCHEMA_LISTS:
            made["anyOf" if key == "oneOf" else key] = [_strict(s) for s in objects_at(schema, key)]
        elif key == "items":
            made[key] = _strict(object_at(schema, key))
        elif key not in _NOT_IN_STRICT:
            made[key] = value
    if schema.get("type") == "object":
        if schema.get("additionalProperties", False) is not False or "properties" not in schema:
            raise _NotStrictError
        made |= {"additionalProperties": False, "required": list(schema["properties"])}
    return made
