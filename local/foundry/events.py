"""Turns the deltas of a model into output items and the events of a response, in order."""

from collections.abc import Callable
from typing import Any

from local.model import RefusalDelta, TextDelta, ToolCallDelta

from .errors import JsonObject
from .ids import new_item_id

Emit = Callable[..., None]


class OutputRecorder:
    """Builds the output of one response; `emit(type, **fields)` receives each event.

    The order of events is the one of the Responses API: an item is added, its parts are added,
    filled and done, and the item is done before the next one begins.
    """

    def __init__(self, emit: Emit, common: JsonObject) -> None:
        self._emit = emit
        self._common = common
        self._open: JsonObject | None = None
        self._call_index: int | None = None
        self.output: list[JsonObject] = []

    def add(self, delta: TextDelta | RefusalDelta | ToolCallDelta) -> None:
        """Take in one delta."""
        match delta:
            case TextDelta():
                self._write("output_text", "text", delta.text)
            case RefusalDelta():
                self._write("refusal", "refusal", delta.text)
            case ToolCallDelta():
                self._call(delta)

    def ask(self, item: JsonObject) -> None:
        """Add an item that asks the caller for something."""
        self._begin(item)

    def finish(self, status: str) -> None:
        """Close the open item with this status."""
        if self._open is None:
            return
        item, self._open = self._open, None
        self._call_index = None
        if item["type"] == "message":
            self._close_part(item)
        elif item["type"] == "function_call":
            self._event(
                "response.function_call_arguments.done",
                item,
                name=item["name"],
                arguments=item["arguments"],
            )
        item["status"] = status
        self._emit("response.output_item.done", output_index=self._index, item=item)

    @property
    def _index(self) -> int:
        return len(self.output) - 1

    def _begin(self, item: JsonObject) -> JsonObject:
        self.finish("completed")
        item = {"id": new_item_id(item["type"]), "status": "in_progress", **item, **self._common}
        self._open = item
        self.output.append(item)
        self._emit("response.output_item.added", output_index=self._index, item=item)
        return item

    def _write(self, kind: str, field: str, text: str) -> None:
        item = self._open
        if item is None or item["type"] != "message" or item["content"][-1]["type"] != kind:
            item = self._begin_message(kind, field)
        item["content"][-1][field] += text
        extra: JsonObject = {"logprobs": []} if kind == "output_text" else {}
        self._event(f"response.{kind}.delta", item, content_index=0, delta=text, **extra)

    def _begin_message(self, kind: str, field: str) -> JsonObject:
        item = self._begin({"type": "message", "role": "assistant", "content": []})
        part: JsonObject = {"type": kind, field: ""}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        item["content"].append(part)
        self._event("response.content_part.added", item, content_index=0, part=part)
        return item

    def _close_part(self, item: JsonObject) -> None:
        part = item["content"][-1]
        fields = {k: v for k, v in part.items() if k in {"text", "refusal", "logprobs"}}
        self._event(f"response.{part['type']}.done", item, content_index=0, **fields)
        self._event("response.content_part.done", item, content_index=0, part=part)

    def _call(self, delta: ToolCallDelta) -> None:
        item = self._open
        if item is None or item["type"] != "function_call" or self._call_index != delta.index:
            item = self._begin(
                {
                    "type": "function_call",
                    "call_id": delta.call_id,
                    "name": delta.name,
                    "arguments": "",
                }
            )
            self._call_index = delta.index
        if delta.arguments:
            item["arguments"] += delta.arguments
            self._event("response.function_call_arguments.delta", item, delta=delta.arguments)

    def _event(self, kind: str, item: JsonObject, **fields: Any) -> None:
        self._emit(kind, item_id=item["id"], output_index=self._index, **fields)
