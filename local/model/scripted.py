"""A deterministic model for tests: its answer follows from the prompt by fixed rules.

The rules look at the last user message, in this order:

- tool outputs after the last user message: `NAME answered: OUTPUT`, one line per output;
- `/answer TEXT`: TEXT, with any response format;
- a `json_schema` response format: the smallest instance of the schema;
- `/call NAME {json}` lines: one function call per line, in parallel, for declared tools;
- `/words N`: N words; `/json`: an empty object; `/refuse`: a refusal;
- `/history`: the user messages it was sent, as a JSON array; `/system`: the system text;
- `/filter`: one word, then the content filter stops the answer; `/fail`: the model fails;
- `What is my name?`: the name of the last earlier `My name is X`;
- anything else: `You said: TEXT`.

A prompt whose last user message holds `[[content_filter]]` is blocked before it is answered.
A token is a word; each is streamed on its own.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator

from .base import (
    Delta,
    Finished,
    FinishReason,
    JsonObject,
    ModelError,
    Prompt,
    PromptBlockedError,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    message_text,
)
from .minimal_json import minimal_instance

CONTENT_FILTER_MARKER = "[[content_filter]]"
DEFAULT_CONTEXT_TOKENS = 128_000

_ANSWER = "/answer "
_NAME = re.compile(r"my name is (\w+)", re.IGNORECASE)
_TOKEN = re.compile(r"\S+\s*")
"""Matches in linear time, because the two parts share no character."""

MAX_WORDS = 100_000


class ScriptedModel:
    """Answers by rule, one word at a time."""

    def __init__(
        self,
        token_delay_seconds: float = 0.0,
        context_tokens: int = DEFAULT_CONTEXT_TOKENS,
    ) -> None:
        self._delay = token_delay_seconds
        self._context_tokens = context_tokens

    @property
    def name(self) -> str:
        """The backend's name."""
        return "scripted"

    @property
    def context_tokens(self) -> int:
        """The declared context, in words."""
        return self._context_tokens

    def screen(self, prompt: Prompt) -> None:
        """Block a prompt whose last user message contains the marker."""
        if CONTENT_FILTER_MARKER in _last_user_text(prompt):
            raise PromptBlockedError(CONTENT_FILTER_MARKER)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Count the words of all messages."""
        return _count(prompt)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta]:
        """Stream the answer of the first rule that applies."""
        if calls := _tool_calls(prompt):
            for call in calls:
                await asyncio.sleep(self._delay)
                yield call
            yield _finished(
                prompt, FinishReason.STOP, sum(len(c.arguments) // 4 + 1 for c in calls)
            )
            return
        said = _last_user_text(prompt).strip()
        if said == "/fail":
            raise ModelError("the scripted model fails on request")
        refusing = said == "/refuse"
        tokens = _tokens("I cannot help with that." if refusing else _answer(prompt, said))
        reason = FinishReason.CONTENT_FILTER if said == "/filter" else FinishReason.STOP
        if prompt.max_output_tokens is not None and len(tokens) > prompt.max_output_tokens:
            tokens, reason = tokens[: prompt.max_output_tokens], FinishReason.LENGTH
        for token in tokens:
            await asyncio.sleep(self._delay)
            yield RefusalDelta(token) if refusing else TextDelta(token)
        yield _finished(prompt, reason, len(tokens))

    async def aclose(self) -> None:
        """Release nothing: the model holds nothing."""


def _finished(prompt: Prompt, reason: FinishReason, output_tokens: int) -> Finished:
    return Finished(reason, TokenUsage(_count(prompt), output_tokens))


def _count(prompt: Prompt) -> int:
    return sum(len(message_text(message).split()) for message in prompt.messages)


def _user_texts(prompt: Prompt) -> list[str]:
    return [message_text(m) for m in prompt.messages if m["role"] == "user"]


def _last_user_text(prompt: Prompt) -> str:
    texts = _user_texts(prompt)
    return texts[-1] if texts else ""


def _tool_calls(prompt: Prompt) -> list[ToolCallDelta]:
    if prompt.tool_choice == "none" or _tool_outputs(prompt):
        return []
    declared = {tool["function"]["name"] for tool in prompt.tools}
    calls = [call for line in _last_user_text(prompt).splitlines() if (call := _call_in(line))]
    turn = len(prompt.messages)
    return [
        ToolCallDelta(index, f"call_{turn}_{index}", name, arguments)
        for index, (name, arguments) in enumerate(call for call in calls if call[0] in declared)
    ]


def _call_in(line: str) -> tuple[str, str] | None:
    """Parse a line such as `/call add {"a": 1}` into the name and arguments of a call."""
    match line.split(maxsplit=2):
        case ["/call", name]:
            return name, "{}"
        case ["/call", name, rest] if rest.startswith("{") and rest.rstrip().endswith("}"):
            return name, rest.rstrip()
        case _:
            return None


def _tokens(text: str) -> list[str]:
    """Split a text into words with their trailing space; the first keeps its leading space."""
    words = _TOKEN.findall(text)
    return [text[: len(text) - len(text.lstrip())] + words[0], *words[1:]] if words else []


def _tool_outputs(prompt: Prompt) -> list[JsonObject]:
    outputs: list[JsonObject] = []
    for message in reversed(prompt.messages):
        if message["role"] == "user":
            break
        if message["role"] == "tool":
            outputs.insert(0, message)
    return outputs


def _answer(prompt: Prompt, said: str) -> str:
    if outputs := _tool_outputs(prompt):
        names = _called_names(prompt)
        return "\n".join(
            f"{names.get(o['tool_call_id'], 'tool')} answered: {message_text(o)}" for o in outputs
        )
    if said.startswith(_ANSWER):
        return said.removeprefix(_ANSWER)
    if prompt.response_format and prompt.response_format["type"] == "json_schema":
        return json.dumps(minimal_instance(prompt.response_format["json_schema"]["schema"]))
    return _command(prompt, said) or _recall(prompt, said) or f"You said: {said}"


def _command(prompt: Prompt, said: str) -> str | None:
    match said.split(maxsplit=1)[:2]:
        case ["/words", count] if count.split()[0].isdecimal() and len(count.split()[0]) < 10:
            words = min(int(count.split()[0]), MAX_WORDS)
            return " ".join(f"word{n}" for n in range(1, words + 1))
        case _:
            pass
    match said.split(maxsplit=1)[:1]:
        case ["/json"]:
            return "{}"
        case ["/history"]:
            return json.dumps(_user_texts(prompt))
        case ["/system"]:
            return "\n".join(message_text(m) for m in prompt.messages if m["role"] == "system")
        case ["/filter"]:
            return "Filtered"
        case _:
            return None


def _recall(prompt: Prompt, said: str) -> str | None:
    if "what is my name" not in said.lower():
        return None
    for text in reversed(_user_texts(prompt)[:-1]):
        if found := _NAME.search(text):
            return f"Your name is {found[1]}."
    return "I do not know your name."


def _called_names(prompt: Prompt) -> dict[str, str]:
    names: dict[str, str] = {}
    for message in prompt.messages:
        calls: list[JsonObject] = message.get("tool_calls") or []
        names |= {call["id"]: call["function"]["name"] for call in calls}
    return names
