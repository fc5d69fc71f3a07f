"""Function calls in OpenAI chat completions: their definitions, messages and streamed pieces.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from ulid import ULID

from ..foundry.client_calls import CallFeed
from ..foundry.conversations import item_text
from ..foundry.models import ClientCall, ClientTools
from ..foundry.wire_json import JsonObject, object_at, objects_at, text_at

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def chat_tools(tools: ClientTools) -> JsonObject:
    """The fields of a request that let the model call the caller's functions."""
    body: JsonObject = {"tools": [_definition(each) for each in tools.definitions]}
    if tools.choice is not None:
        body["tool_choice"] = _choice(tools.choice)
    if tools.parallel is not None:
        body["parallel_tool_calls"] = tools.parallel
    return body


def _definition(flat: JsonObject) -> JsonObject:
    """A definition with its fields under `function`; servers may not know `strict`."""
    function = {name: value for name, value in flat.items() if name not in {"type", "strict"}}
    if flat.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: str | JsonObject) -> str | JsonObject:
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "allowed_tools":
        allowed = [_definition(each) for each in objects_at(choice, "tools")]
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": choice["mode"], "tools": allowed},
        }
    return _definition(choice)


def chat_messages(items: Iterable[JsonObject]) -> list[JsonObject]:
    """Items of the Responses API as chat messages; items that chat does not know are left out."""
    messages: list[JsonObject] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "message" and (role := _ROLES.get(str(item.get("role")))):
            messages.append({"role": role, "content": item_text(item)})
        elif kind == "function_call":
            _add_call(messages, item)
        elif kind == "function_call_output":
            answered, output = item.get("call_id"), _output_text(item.get("output"))
            messages.append({"role": "tool", "tool_call_id": answered, "content": output})
    return messages


def _add_call(messages: list[JsonObject], item: JsonObject) -> None:
    """Add a call to the assistant's message; the text before it is part of the same message."""
    call = {
        "id": item.get("call_id"),
        "type": "function",
        "function": {"name": item.get("name"), "arguments": item.get("arguments") or "{}"},
    }
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _output_text(output: Any) -> str:
    """The text of an output, which may be in parts."""
    if isinstance(output, str):
        return output
    parts = cast("list[Any]", output) if isinstance(output, list) else []
    return item_text({"content": parts})


@dataclass(slots=True)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ChatCalls:
    """Assembles the calls of a completion from its pieces, and emits them."""

    feed: CallFeed
    _calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    """By the index that each piece names."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, delta: JsonObject) -> None:
        """Add the pieces in a chunk's `delta`, or the calls of a whole message."""
        for position, piece in enumerate(objects_at(delta, "tool_calls")):
            index = piece.get("index")
            call = self._calls.setdefault(index if type(index) is int else position, _Call())
            function = object_at(piece, "function")
            call.call_id = call.call_id or text_at(piece, "id") or ""
            call.name = call.name or text_at(function, "name") or ""
            self._add(call, text_at(function, "arguments") or "")

    def _add(self, call: _Call, piece: str) -> None:
        """Emit a piece; what arrives before the name is emitted together with it."""
        call.arguments += piece
        if not call.name:
            return
        call.call_id = call.call_id or f"call_{ULID()}"  # some servers give none
        self.feed.begin(call.call_id, call.name)
        self.feed.catch_up(call.call_id, call.arguments)

    def made(self) -> tuple[ClientCall, ...]:
        """The calls, now complete, in order."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        made = [ClientCall(each.call_id, each.name, each.arguments) for each in calls if each.name]
        self.feed.finish(made)
        return tuple(made)
