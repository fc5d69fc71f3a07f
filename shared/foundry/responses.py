"""The Responses API: what we send for a turn and how we read what comes back.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..config import FoundryAgentServiceConfig
from ..text import parse_json
from .client_calls import INVALID_TOOLS, answer_items
from .content import user_message
from .endpoint import AgentReference
from .errors import ConfigurationError, ContentFilteredError, InvalidRequestError
from .models import (
    ClientTools,
    FinishReason,
    ThreadRef,
    ToolCall,
    TurnRequest,
    TurnResult,
    Usage,
    token_counts,
)
from .structured import read_answer
from .tools import Toolbox
from .tools.unanswered import missing
from .wire_json import JsonObject, object_at, objects_at, text_at

_T = TypeVar("_T")

AGENT_ID = "agent_id"
"""Key in a request's metadata of the agent in whose name a model is asked."""

MAX_METADATA = 16
"""Pairs that the service takes."""

_COUNTS = ("input_tokens", "output_tokens", "total_tokens")

_CALL_SUFFIX = "_call"
"""Of the type of an item that reports a call of a tool."""

_ARGUMENTS = ("arguments", "input", "action", "queries", "code")
"""Where the kinds of calls keep the arguments of the tool."""


@dataclass(frozen=True, slots=True)
class RequestBuilder:
    """Builds request bodies for one configuration: an agent, or a model called directly."""

    config: FoundryAgentServiceConfig
    agent: AgentReference | None
    toolbox: Toolbox

    def build(self, turn: TurnRequest, thread: ThreadRef | None) -> JsonObject:
        """The body of `POST /responses` for one user message.

        Raises:
            InvalidRequestError: for an option that is the agent's to decide.
            ConfigurationError: for tools or threads that are switched off.
        """
        if turn.tools and not self.config.enable_foundry_tools:
            raise ConfigurationError(
                "Tools are switched off. Set FOUNDRY_ENABLE_FOUNDRY_TOOLS=true to allow them."
            )
        # a tool's result continues a stored response, and an agent may have tools of its own
        may_continue = thread is not None or bool(turn.tools) or self.agent is not None
        body: JsonObject = {
            "input": _input(turn, thread),
            "store": may_continue or turn.background,
        }
        if turn.background:
            body["background"] = True
        if metadata := self._metadata(turn):
            body["metadata"] = metadata
        if thread is not None:
            body |= self._thread_fields(thread)
        return body | (self._for_agent(turn) if self.agent else self._for_model(turn))

    def _metadata(self, turn: TurnRequest) -> dict[str, str]:
        """The caller's metadata, and the agent's id where the service knows no agents."""
        metadata = dict(turn.metadata)
        agent_id = self.config.agent_id
        if self.agent is None and agent_id and len(metadata.keys() | {AGENT_ID}) <= MAX_METADATA:
            metadata[AGENT_ID] = agent_id
        return metadata

    def _thread_fields(self, thread: ThreadRef) -> JsonObject:
        if not self.config.enable_stateful_threads:
            raise ConfigurationError(
                "Threads are switched off. Set FOUNDRY_ENABLE_STATEFUL_THREADS=true to allow them."
            )
        if thread.conversation_id:
            return {"conversation": thread.conversation_id}
        if thread.last_response_id:
            return {"previous_response_id": thread.last_response_id}
        return {}

    def _for_model(self, turn: TurnRequest) -> JsonObject:
        config = self.config
        body: JsonObject = {
            "model": turn.model or config.model,
            "temperature": _given(turn.temperature, config.temperature),
            "top_p": _given(turn.top_p, config.top_p),
            "max_output_tokens": _given(turn.max_tokens, config.max_tokens),
        }
        if instructions := turn.system_prompt or instructions_for(turn.domain):
            body["instructions"] = instructions
        if definitions := self._tools(turn):
            body["tools"] = definitions
        if turn.client_tools:
            body |= _choice(turn.client_tools)
        if turn.response_format:
            body["text"] = {"format": turn.response_format.to_json()}
        return body

    def _tools(self, turn: TurnRequest) -> list[JsonObject]:
        """The product's tools that the turn names, and the caller's own."""
        ours = self.toolbox.definitions(turn.tools)
        if turn.client_tools is None:
            return ours
        taken = {*self.toolbox.functions, *(str(each.get("name")) for each in ours)}
        named = {tool for tool in turn.tools if isinstance(tool, str)}
        if twice := sorted(turn.client_tools.names & (taken | named)):
            raise InvalidRequestError(
                f"tools has functions named as tools of this app: {', '.join(twice)}. Give them "
                "other names, so that it is clear who runs a call.",
                code=INVALID_TOOLS,
            )
        return [*ours, *turn.client_tools.definitions]

    def _for_agent(self, turn: TurnRequest) -> JsonObject:
        """Instructions and sampling belong to the agent; the service refuses them beside it."""
        agents_own = {
            "system_prompt": turn.system_prompt,
            "model": turn.model,
            "temperature": turn.temperature,
            "top_p": turn.top_p,
            "response_format": turn.response_format,
            **(_choice(turn.client_tools) if turn.client_tools else {}),
        }
        if given := [name for name, value in agents_own.items() if value is not None]:
            raise InvalidRequestError(
                f"{', '.join(given)} cannot be set per message: the agent "
                f"'{self.config.agent_id}' decides them. Change the agent's definition in "
                "Foundry, or clear FOUNDRY_AGENT_ID to call the model directly.",
                code="set_by_agent",
            )
        self._tools(turn)  # they are the agent's, but their names must be clear here too
        assert self.agent is not None  # noqa: S101 - `build` comes here only with an agent
        return {
            "agent_reference": self.agent.to_json(),
            "max_output_tokens": _given(turn.max_tokens, self.config.max_tokens),
        }


def _input(turn: TurnRequest, thread: ThreadRef | None) -> list[JsonObject]:
    """What is owed to the thread and the caller does not give, and what the turn says."""
    said = [*turn.preceding, *answer_items(turn)]
    if turn.message or turn.parts:
        said.append(user_message(turn.message, turn.parts))
    return [*missing(thread.owed, said), *said] if thread else said


def _choice(tools: ClientTools) -> JsonObject:
    """How the caller lets the model choose, where that is not the default."""
    body: JsonObject = {}
    if tools.choice not in (None, "auto"):
        body["tool_choice"] = tools.choice
    if tools.parallel is False:
        body["parallel_tool_calls"] = False
    return body


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def instructions_for(domain: str) -> str | None:
    """The default instructions of a model that is called directly."""
    if domain == "general":
        return None
    return f"You are a specialized agent for the {domain} domain."


def parse_response(body: JsonObject, *, request_id: str | None) -> TurnResult:
    """Read a response object that has ended.

    Raises:
        ContentFilteredError: if a filter stopped the answer.
    """
    items = objects_at(body, "output")
    answer, calls = read_answer(items), tool_calls(items)
    return TurnResult(
        content=answer.text or answer.refusal or "",
        refusal=answer.refusal,
        finish_reason=_finish_reason(body, request_id),
        response_id=str(body.get("id")),
        model=str(body.get("model") or ""),
        agent_id=_agent_id(body),
        tools_used=tuple(dict.fromkeys(call.tool for call in calls)),
        tool_calls=calls,
        usage=parse_usage(object_at(body, "usage")),
        last_item_id=text_at(items[-1], "id") if items else None,
        request_id=request_id,
    )


def response_text(body: JsonObject) -> str:
    """The text of a response's answer."""
    return read_answer(objects_at(body, "output")).text


def hosted_tool(item: JsonObject) -> str | None:
    """The name of the tool that Foundry ran, if the item reports one."""
    kind = str(item.get("type"))
    if kind == "function_call" or not kind.endswith(_CALL_SUFFIX):
        return None
    return str(item.get("name") or kind.removesuffix(_CALL_SUFFIX))


def tool_calls(items: Sequence[JsonObject]) -> tuple[ToolCall, ...]:
    """Every call of a tool among the output items of a response."""
    calls: list[ToolCall] = []
    for item in items:
        kind = str(item.get("type"))
        if kind.endswith(_CALL_SUFFIX):
            asked = next((item[name] for name in _ARGUMENTS if item.get(name) is not None), None)
            tool = str(item.get("name") or kind.removesuffix(_CALL_SUFFIX))
            calls.append(ToolCall(tool, None if asked is None else arguments_hash(asked)))
    return tuple(calls)


def arguments_hash(arguments: Any) -> str:
    """A digest that distinguishes two calls of a tool without revealing the arguments.

    32 hexadecimal digits of the SHA-256 of the arguments as JSON with sorted keys.
    """
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = parse_json(arguments)
    content = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _finish_reason(body: JsonObject, request_id: str | None) -> FinishReason:
    if body.get("status") != "incomplete":
        return FinishReason.STOP
    if object_at(body, "incomplete_details").get("reason") == "content_filter":
        raise ContentFilteredError(
            "A content filter stopped the answer. Rephrase the message; sending it again will "
            "not help.",
            request_id=request_id,
        )
    return FinishReason.LENGTH


def _agent_id(body: JsonObject) -> str | None:
    reference = object_at(body, "agent_reference")
    name, version = text_at(reference, "name"), text_at(reference, "version")
    return f"{name}:{version}" if name and version else name


def parse_usage(usage: JsonObject) -> Usage:
    """Token counts in flat form; a count that is missing or cannot be true stays absent."""
    counts: JsonObject = {
        **{name: usage.get(name) for name in _COUNTS},
        "cached_tokens": object_at(usage, "input_tokens_details").get("cached_tokens"),
        "reasoning_tokens": object_at(usage, "output_tokens_details").get("reasoning_tokens"),
    }
    return token_counts(counts)
