"""What a request says: instructions, and the items of its conversation in order.

Both APIs are read into the same input items, those of the Responses API, from which a turn is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..foundry.client_calls import CANCELLED
from ..foundry.content import image_part
from ..foundry.errors import InvalidRequestError
from ..foundry.models import ClientOutput
from ..problems import ProblemError
from ..turns.options import refused

JsonObject = dict[str, Any]

MAX_ITEMS = 5_000
"""The most items of a conversation in one request."""

BETWEEN_PARTS = "\n"
"""Between the text parts of a message, and between instructions."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says."""

    instructions: str | None
    items: tuple[JsonObject, ...]
    """Messages of user and assistant, calls of the caller's functions and their outputs."""


@dataclass(frozen=True, slots=True)
class Message:
    """The last message of a user, as a turn sends it."""

    text: str
    parts: tuple[JsonObject, ...]
    """Its images."""

    @classmethod
    def of(cls, item: JsonObject) -> Message | None:
        """Read an input item; None if it is not the message of a user."""
        if item.get("type") != "message" or item.get("role") != "user":
            return None
        content = item["content"]
        if isinstance(content, str):
            return cls(content, ())
        texts = [part["text"] for part in content if part["type"] == "input_text"]
        others = tuple(part for part in content if part["type"] != "input_text")
        return cls(BETWEEN_PARTS.join(texts), others)


def settled(items: Sequence[JsonObject], field: str) -> tuple[JsonObject, ...]:
    """The items, with an output for each call that the caller left without one.

    A model refuses a conversation in which a call has no output before the next message.

    Raises:
        ProblemError: naming the ``field``, if an output is of no call before it.
    """
    done: list[JsonObject] = []
    calls: dict[str, None] = {}
    called: set[str] = set()
    for item in items:
        match item["type"]:
            case "function_call":
                calls[item["call_id"]] = None
                called.add(item["call_id"])
            case "function_call_output":
                if item["call_id"] not in called:
                    raise refused(
                        field, f"has an output for {item['call_id'][:100]!r}, no call before it"
                    )
                calls.pop(item["call_id"], None)
            case _:
                done += map(_cancelled, calls)
                calls.clear()
        done.append(item)
    return (*done, *map(_cancelled, calls))


def _cancelled(call_id: str) -> JsonObject:
    return ClientOutput(call_id, CANCELLED).to_item()


def joined(texts: Sequence[str]) -> str | None:
    """Instructions in order as one text; None if there are none."""
    return BETWEEN_PARTS.join(text for text in texts if text) or None


def message_item(role: str, content: str | list[JsonObject]) -> JsonObject:
    """A message as an input item."""
    return {"type": "message", "role": role, "content": content}


def image_item(field: str, url: str, detail: str | None) -> JsonObject:
    """An image of a message.

    Raises:
        ProblemError: if it cannot be used, naming the ``field``.
    """
    try:
        part = image_part(url)
    except InvalidRequestError as error:
        raise _unusable(field, error) from error
    return {**part, "detail": detail} if detail in {"low", "high", "original"} else part


def _unusable(field: str, error: InvalidRequestError) -> ProblemError:
    return refused(field, error.message, error.code)
