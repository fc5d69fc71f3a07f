"""Function calls that the model makes, and their outputs.

A call without an output makes its conversation unusable ("No tool output found for function
call"), so every call gets one, even if it fails or is stopped.
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
"""How long a tool may take to end after it was cancelled."""

STOPPED = "The tool was stopped before it finished."


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function call that the model requested."""

    call_id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it."""

    @classmethod
    def from_item(cls, item: JsonObject) -> FunctionCall:
        """Read a `function_call` item.

        Raises:
            ProtocolError: if it has no call id or no name.
        """
        call_id, name = text_at(item, "call_id"), text_at(item, "name")
        if call_id is None or name is None:
            raise ProtocolError("Foundry asked for a function call without its id or name.")
        return cls(call_id, name, text_at(item, "arguments") or "")


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The output of one call."""

    call_id: str
    output: str
    succeeded: bool

    def to_item(self) -> JsonObject:
        """The item of the next request's `input`."""
        return {
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": self.output,
        }


def function_output(call: FunctionCall, text: str, *, succeeded: bool) -> FunctionOutput:
    """The output of ``call``, truncated if it is too long."""
    text = clean_text(text)
    if len(text) > MAX_OUTPUT_CHARACTERS:
        note = f"\n[cut: {len(text)} characters in all]"
        text = text[: MAX_OUTPUT_CHARACTERS - len(note)] + note
    return FunctionOutput(call.call_id, text, succeeded)


def function_calls(items: Iterable[JsonObject]) -> list[FunctionCall]:
    """The calls among the output items of a response."""
    return [FunctionCall.from_item(item) for item in items if item.get("type") == "function_call"]


def as_output(result: Any) -> str:
    """Convert a function's result to text: a str unchanged, anything else as JSON.

    Raises:
        pydantic_core.PydanticSerializationError: if the result cannot be written as JSON.
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
    # an unpaired surrogate, which `function_output` replaces by "?"
    return json.dumps(result, default=to_jsonable_python, ensure_ascii=False, separators=(",", ":"))


async def settle(tasks: Iterable[asyncio.Task[Any]], seconds: float | None = None) -> None:
    """Wait until all tasks have ended, and cancel those still running after ``seconds``.

    If the caller is cancelled, the tasks are cancelled first. A task that has not ended
    `STOP_SECONDS` after its cancellation is abandoned.
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
