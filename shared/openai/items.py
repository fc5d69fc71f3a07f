"""Items of the Responses API: how those of a request are read, and their ids.

The id of an item is that of its response and its position, so that a client can refer to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from ..foundry.models import ClientCall
from ..http.field_errors import invalid_field
from ..turns.body import MAX_NAME_CHARS
from .fields import Open, unsupported
from .said import JsonObject, image_item, message_item
from .tools import BETWEEN_NAMES

MAX_CALL_ID_CHARS = 256
MAX_REASON_CHARS = 4_000
"""Of the reason of an approval; it is for the model."""

APPROVAL = "mcp_approval_response"

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
_REFERENCE = re.compile(
    r"(?:msg|fc|fco|item)_(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})_(?P<place>[io])(?P<number>[0-9]{1,4})"
)

_TEXTS = {"input_text", "output_text", "text", "summary_text"}


class Part(Open):
    """A part of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


class InputItem(Open):
    """An item of the input; without a type, it is a message."""

    type: str = Field(default="message", max_length=MAX_NAME_CHARS)
    id: str | None = None
    status: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = Field(default=None, min_length=1, max_length=MAX_CALL_ID_CHARS)
    name: str | None = Field(default=None, min_length=1, max_length=2 * MAX_NAME_CHARS)
    namespace: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    arguments: str | None = None
    output: str | list[Part] | None = None
    approval_request_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_CALL_ID_CHARS
    )
    approve: bool | None = None
    reason: str | None = Field(default=None, max_length=MAX_REASON_CHARS)


@dataclass(frozen=True, slots=True)
class Reference:
    """An item of an earlier response, to which an item refers."""

    response_id: str
    is_output: bool
    number: int

    @classmethod
    def of(cls, item_id: str) -> Reference | None:
        """Read an id; None if it is not of an item of a response."""
        match = _REFERENCE.fullmatch(item_id)
        if match is None:
            return None
        return cls(f"resp_{match['ulid']}", match["place"] == "o", int(match["number"]))


@dataclass(slots=True)
class ReadItems:
    """The items of a request, as the service takes them."""

    items: list[JsonObject | Reference] = field(default_factory=list[JsonObject | Reference])
    ignored: list[str] = field(default_factory=list[str])
    """Types of items that are left out."""


def read_items(given: str | Sequence[InputItem], field: str = "input") -> ReadItems:
    """Read the items of a request, which are in this field of its body.

    Raises:
        ProblemError: naming the part that is wrong.
    """
    if isinstance(given, str):
        return ReadItems([message_item("user", _said(given, field))])
    read = ReadItems()
    for number, item in enumerate(given):
        place = f"{field}.{number}"
        match item.type:
            case "message":
                read.items.append(_message(item, place))
            case "function_call":
                read.items.append(_call(item, place))
            case "function_call_output":
                read.items.append(_output(item, place))
            case "mcp_approval_response":
                read.items.append(_approval(item, place))
            case "item_reference":
                read.items.append(_reference(item, place))
            case _:
                read.ignored.append(f"{field}.{item.type}")
    return read


def _said(text: str, place: str) -> str:
    if not text:
        raise invalid_field(place, "must not be empty")
    return text


def _message(item: InputItem, place: str) -> JsonObject:
    if item.role is None or item.content is None:
        raise invalid_field(place, "must have a role and content")
    if item.role != "user":
        return message_item(item.role, _text(item.content, f"{place}.content"))
    if isinstance(item.content, str):
        return message_item("user", _said(item.content, f"{place}.content"))
    parts = [_part(each, f"{place}.content.{n}") for n, each in enumerate(item.content)]
    if not parts:
        raise invalid_field(f"{place}.content", "must not be empty")
    return message_item("user", parts)


def _text(content: str | list[Part], place: str) -> str:
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for number, part in enumerate(content):
        text = part.refusal if part.type == "refusal" else part.text
        if text is None or part.type not in {*_TEXTS, "refusal"}:
            raise unsupported(f"{place}.{number}.type", "must be a part with text")
        texts.append(text)
    return "".join(texts)


def _part(part: Part, place: str) -> JsonObject:
    if part.type in _TEXTS and part.text is not None:
        return {"type": "input_text", "text": part.text}
    if part.type == "input_image" and part.image_url is not None:
        return image_item(f"{place}.image_url", part.image_url, part.detail)
    reason = "a message has parts of type input_text, and input_image with an image_url"
    raise unsupported(f"{place}.type", reason)


def _call(item: InputItem, place: str) -> JsonObject:
    if item.call_id is None or item.name is None or item.arguments is None:
        raise invalid_field(place, "must have a call_id, a name and arguments")
    name = f"{item.namespace}{BETWEEN_NAMES}{item.name}" if item.namespace else item.name
    return ClientCall(item.call_id, name, item.arguments).to_item()


def _output(item: InputItem, place: str) -> JsonObject:
    if item.call_id is None or item.output is None:
        raise invalid_field(place, "must have a call_id and an output")
    output: str | list[JsonObject]
    if isinstance(item.output, str) or all(part.type in _TEXTS for part in item.output):
        output = _text(item.output, f"{place}.output")
    else:
        output = [_part(each, f"{place}.output.{n}") for n, each in enumerate(item.output)]
    return {"type": "function_call_output", "call_id": item.call_id, "output": output}


def _approval(item: InputItem, place: str) -> JsonObject:
    if item.approval_request_id is None or item.approve is None:
        raise invalid_field(place, "must have an approval_request_id and approve")
    answer = {"approval_request_id": item.approval_request_id, "approve": item.approve}
    return {"type": APPROVAL, **answer, "reason": item.reason}


def _reference(item: InputItem, place: str) -> Reference:
    reference = Reference.of(item.id or "")
    if reference is None:
        raise invalid_field(f"{place}.id", "must be the id of an item of a stored response")
    return reference


def item_id(kind: str, ulid: str, number: int, *, is_output: bool) -> str:
    """The id of an item of a response."""
    return f"{_PREFIXES.get(kind, 'item')}_{ulid}_{'o' if is_output else 'i'}{number}"


def shown_items(items: Iterable[Mapping[str, Any]], ulid: str) -> list[JsonObject]:
    """The input items of a response as callers see them: with ids, and content in parts."""
    return [_shown(item, ulid, number) for number, item in enumerate(items)]


def _shown(item: Mapping[str, Any], ulid: str, number: int) -> JsonObject:
    named = {"id": item_id(item["type"], ulid, number, is_output=False), "status": "completed"}
    if item["type"] != "message" or not isinstance(item["content"], str):
        return {**item, **named}
    text = item["content"]
    if item["role"] != "assistant":
        return {**item, **named, "content": [{"type": "input_text", "text": text}]}
    part: JsonObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {**item, **named, "content": [part]}


def sent_item(item: Mapping[str, Any]) -> JsonObject:
    """An output item of an earlier response as an item of the input."""
    if item["type"] == "function_call":
        name = item["name"]
        if item.get("namespace"):
            name = f"{item['namespace']}{BETWEEN_NAMES}{name}"
        return ClientCall(item["call_id"], name, item["arguments"]).to_item()
    parts: list[Mapping[str, Any]] = item["content"]
    return message_item(
        "assistant", "".join(p.get("text") or p.get("refusal") or "" for p in parts)
    )
