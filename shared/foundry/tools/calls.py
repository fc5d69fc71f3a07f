"""Calls of our functions by a model, and their answers.

A call without an answer makes its conversation unusable ("No tool output found for function
call"), so every call gets one, however it ends.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/function-calling
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from ...text import clean_text
from ..errors import ProtocolError
from ..wire_json import JsonObject, text_at

MAX_OUTPUT_CHARACTERS = 100_000
"""About 25,000 tokens: a fifth of the context of Llama 3.3. A longer result is cut."""


STOP_SECONDS = 1.0
"""How long a tool may take to end once it is stopped."""

STOPPED = "The tool was stopped before it finished."


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function that the model wants called."""

    call_id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it."""

    @classmethod
    def from_item(cls, item: JsonObject) -> FunctionCall:
        """Read a `function_call` item.

        Raises:
            ProtocolError: if it has no id to answer to.
        """
        call_id, name = text_at(item, "call_id"), text_at(item, "name")
        if call_id is None or name is None:
            raise ProtocolError("Foundry asked for a function call without its id or name.")
        return cls(call_id, name, text_at(item, "arguments") or "")


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The answer to one call."""

    call_id: str
    output: str
    succeeded: bool

    def to_item(self) -> JsonObject:
        """The item that goes into the next request's `input`."""
        return {
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": self.output,
        }


def function_output(call: FunctionCall, text: str, *, succeeded: bool) -> FunctionOutput:
    """The answer to ``call``, cut where it is too long."""
    text = clean_text(text)
    if len(text) > MAX_OUTPUT_CHARACTERS:
        note = f"\n[cut: {len(text)} characters in all]"
        text = text[: MAX_OUTPUT_CHARACTERS - len(note)] + note
    return FunctionOutput(call.call_id, text, succeeded)


def function_calls(items: Iterable[JsonObject]) -> list[FunctionCall]:
    """The calls among the output items of a response."""
    return [FunctionCall.from_item(item) for item in items if item.get("type") == "function_call"]


def as_output(result: Any) -> str:
    """A function's result as text: a str as it is, anything else as JSON.

    Raises:
        pydantic_core.PydanticSerializationError: if JSON cannot say it.
    """
    if isinstance(result, str):
        return result
    if isinstance(result, Iterator | AsyncIterator):
        raise PydanticSerializationError("Unable to serialize an iterator, which may never end")
    try:
        return to_json(result).decode()
    except PydanticSerializationError as error:
        if "surrogates" not in str(error):
            raise
    # half a pair of surrogates, which becomes "?" in `function_output`
    return json.dumps(result, default=to_jsonable_python, ensure_ascii=False, separators=(",", ":"))


async def settle(tasks: Iterable[asyncio.Task[Any]], seconds: float | None = None) -> None:
    """Wait until all tasks have ended, and stop those that have not after ``seconds``.

    Where the caller is cancelled, the tasks are stopped as well before the cancellation goes on.
    A task that does not end within `STOP_SECONDS` of being stopped is abandoned.
    """
    pending = set(tasks)
    try:
        if pending:
            _, pending = await asyncio.wait(pending, timeout=seconds)
    finally:
        pending = {task for task in pending if not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=STOP_SECONDS)
