"""The interface of a language model, which takes a prompt and streams deltas."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

JsonObject = dict[str, Any]
"""A raw JSON object of the wire."""

ANSWER_SHARE = 4
"""One part in this many of the context is kept free for the answer, or less for a short one."""


class ModelError(Exception):
    """The model could not answer: it is unreachable, or it failed."""


class PromptTooLongError(ModelError):
    """The last turn alone does not fit the context of the model."""


class PromptBlockedError(ModelError):
    """A content filter refuses the prompt."""


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one generation, as the model counted them."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """One generation to run, in the format of OpenAI chat completions."""

    messages: Sequence[JsonObject]
    """Chat messages, oldest first, each with `role` and `content`."""
    tools: Sequence[JsonObject] = ()
    """Function tools, nested: `{"type": "function", "function": {...}}`."""
    tool_choice: str | JsonObject | None = None
    response_format: JsonObject | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of a refusal."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of one tool call; a new `index` begins a new call."""

    index: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last delta of every generation; `usage` is None when the backend reports none."""

    reason: FinishReason
    usage: TokenUsage | None


Delta = TextDelta | RefusalDelta | ToolCallDelta | Finished


class LanguageModel(Protocol):
    """A model that streams answers. Closing the generator stops the generation."""

    @property
    def name(self) -> str:
        """The backend's name, for messages."""
        ...

    @property
    def context_tokens(self) -> int:
        """How many tokens the prompt and the answer may take together."""
        ...

    def screen(self, prompt: Prompt) -> None:
        """Raise `PromptBlockedError` when a content filter refuses the prompt."""
        ...

    async def count_tokens(self, prompt: Prompt) -> int:
        """Count the tokens the prompt takes."""
        ...

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta]:
        """Stream the answer, ending with one `Finished`; raises `ModelError`."""
        ...

    async def aclose(self) -> None:
        """Release the resources of the model."""
        ...


def message_text(message: JsonObject) -> str:
    """Return the text of a chat message of any form, with `[image]` for each image."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts: list[JsonObject] = content or []
    return " ".join(
        str(part["text"]) if part.get("type") == "text" else "[image]" for part in parts
    )


async def fit_to_context(model: LanguageModel, prompt: Prompt) -> Prompt:
    """Drop the oldest turns until the prompt leaves room for an answer.

    System messages stay. A turn is dropped whole, from its user message up to the next one, so a
    tool call never loses its output.

    Raises:
        PromptTooLongError: The last turn alone does not fit.
    """
    reserved = model.context_tokens // ANSWER_SHARE
    if prompt.max_output_tokens is not None:
        reserved = min(reserved, prompt.max_output_tokens)
    budget = model.context_tokens - reserved
    if await model.count_tokens(prompt) <= budget:
        return prompt
    fixed = [message for message in prompt.messages if _is_system(message)]
    turns = [message for message in prompt.messages if not _is_system(message)]
    starts = [i for i, message in enumerate(turns) if i > 0 and message["role"] == "user"]
    best: Prompt | None = None
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        candidate = replace(prompt, messages=[*fixed, *turns[starts[middle] :]])
        if await model.count_tokens(candidate) <= budget:
            best, high = candidate, middle
        else:
            low = middle + 1
    if best is None:
        message = f"the input does not fit the context of {model.context_tokens} tokens"
        raise PromptTooLongError(message)
    return best


def _is_system(message: JsonObject) -> bool:
    return message["role"] in {"system", "developer"}
