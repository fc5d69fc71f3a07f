"""What a model asks of our functions, and what it is answered.

A call that is never answered breaks its conversation for good ("No tool output found for
function call"), so there is an answer for every ending.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/function-calling
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ..errors import ProtocolError
from ..wire_json import JsonObject, text_at

MAX_OUTPUT_CHARACTERS = 100_000
"""About 25,000 tokens: a fifth of the context of Llama 3.3. A longer result is cut."""


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


def function_calls(items: Iterable[JsonObject]) -> list[FunctionCall]:
    """The calls among the output items of a response."""
    return [FunctionCall.from_item(item) for item in items if item.get("type") == "function_call"]


def as_output(result: Any) -> str:
    """A function's result as text: a str as it is, anything else as JSON, cut if it is too long.

    Raises:
        pydantic_core.PydanticSerializationError: if JSON cannot say it.
    """
    text = result if isinstance(result, str) else to_json(result).decode()
    if len(text) <= MAX_OUTPUT_CHARACTERS:
        return text
    note = f"\n[cut: {len(text)} characters in all]"
    return text[: MAX_OUTPUT_CHARACTERS - len(note)] + note


async def settle(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until all tasks have ended; being cancelled stops them instead of leaving them.

    A cancelled caller is not interrupted here, because it has outputs to deliver;
    `asyncio.current_task().cancelling()` tells it to let go once it has.
    """
    pending = set(tasks)
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError:
            for task in pending:
                task.cancel()
