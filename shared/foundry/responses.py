"""The Responses API: what we send for a turn and how we read what comes back.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..config import FoundryAgentServiceConfig
from .endpoint import AgentReference
from .error_bodies import error_from_failure
from .errors import ConfigurationError, ContentFilteredError, InvalidRequestError, ProtocolError
from .models import Backing, FinishReason, TurnRequest, TurnResult, Usage
from .transport import Reply
from .wire_json import JsonObject, object_at, objects_at, text_at

_T = TypeVar("_T")

_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_TOOL_SUFFIX = "_call"
_UNFINISHED = {"queued", "in_progress"}


@dataclass(frozen=True, slots=True)
class RequestBuilder:
    """Builds request bodies for one configuration: an agent, or a model called directly."""

    config: FoundryAgentServiceConfig
    agent: AgentReference | None

    def build(self, turn: TurnRequest, backing: Backing | None) -> JsonObject:
        """The body of `POST /responses` for one user message.

        Raises:
            InvalidRequestError: for an option that is the agent's to decide.
            ConfigurationError: for tools or threads that are switched off.
        """
        if turn.tools:
            self._refuse_tools()
        body: JsonObject = {
            "input": [{"type": "message", "role": "user", "content": turn.message}],
            "store": backing is not None,
        }
        if turn.metadata:
            body["metadata"] = dict(turn.metadata)
        if backing is not None:
            body |= self._thread(backing)
        return body | (self._for_agent(turn) if self.agent else self._for_model(turn))

    def _refuse_tools(self) -> None:
        if not self.config.enable_foundry_tools:
            raise ConfigurationError(
                "Tools are switched off. Set FOUNDRY_ENABLE_FOUNDRY_TOOLS=true to allow them."
            )
        raise InvalidRequestError(
            "This client cannot offer tools to a model. Give them to an agent in Foundry and set "
            "FOUNDRY_AGENT_ID to its name.",
            code="tools_not_supported",
        )

    def _thread(self, backing: Backing) -> JsonObject:
        if not self.config.enable_stateful_threads:
            raise ConfigurationError(
                "Threads are switched off. Set FOUNDRY_ENABLE_STATEFUL_THREADS=true to allow them."
            )
        if backing.conversation_id:
            return {"conversation": backing.conversation_id}
        if backing.last_response_id:
            return {"previous_response_id": backing.last_response_id}
        return {}

    def _for_model(self, turn: TurnRequest) -> JsonObject:
        config = self.config
        body: JsonObject = {
            "model": turn.model or config.model,
            "temperature": _given(turn.temperature, config.temperature),
            "top_p": _given(turn.top_p, config.top_p),
            "max_output_tokens": _given(turn.max_tokens, config.max_tokens),
        }
        if instructions := turn.system_prompt or _instructions_for(turn.domain):
            body["instructions"] = instructions
        return body

    def _for_agent(self, turn: TurnRequest) -> JsonObject:
        """Instructions and sampling belong to the agent; the service refuses them beside it."""
        agents_own = {
            "system_prompt": turn.system_prompt,
            "model": turn.model,
            "temperature": turn.temperature,
            "top_p": turn.top_p,
        }
        if given := [name for name, value in agents_own.items() if value is not None]:
            raise InvalidRequestError(
                f"{', '.join(given)} cannot be set per message: the agent "
                f"'{self.config.agent_id}' decides them. Change the agent's definition in "
                "Foundry, or clear FOUNDRY_AGENT_ID to call the model directly.",
                code="set_by_agent",
            )
        assert self.agent is not None  # noqa: S101 - `build` comes here only with an agent
        return {
            "agent_reference": self.agent.to_json(),
            "max_output_tokens": _given(turn.max_tokens, self.config.max_tokens),
        }


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _instructions_for(domain: str) -> str | None:
    if domain == "general":
        return None
    return f"You are a specialized agent for the {domain} domain."


def parse_response(reply: Reply, *, latency: float) -> TurnResult:
    """Read a response object; HTTP 200 alone is not success.

    Raises:
        FoundryError: for a response that failed, was filtered, or is not finished.
    """
    body = reply.body
    status = body.get("status")
    if status in {"failed", "cancelled"}:
        raise error_from_failure(body.get("error"), reply.request_id)
    if status in _UNFINISHED or not isinstance(body.get("id"), str):
        raise ProtocolError(
            f"Foundry returned a response that is not finished (status {status!r}).",
            request_id=reply.request_id,
            may_have_run=True,
        )
    items = objects_at(body, "output")
    content, refusal = _text(items)
    return TurnResult(
        content=content or refusal,
        finish_reason=_finish_reason(body, reply.request_id),
        response_id=body["id"],
        model=str(body.get("model") or ""),
        agent_id=_agent_id(body),
        tools_used=tuple(dict.fromkeys(_tools(items))),
        usage=parse_usage(object_at(body, "usage")),
        conversation_id=text_at(object_at(body, "conversation"), "id"),
        last_item_id=text_at(items[-1], "id") if items else None,
        request_id=reply.request_id,
        latency=latency,
    )


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


def _text(items: list[JsonObject]) -> tuple[str, str]:
    parts = [
        part
        for item in items
        if item.get("type") == "message"
        for part in objects_at(item, "content")
    ]
    content = "".join(part["text"] for part in parts if part.get("type") == "output_text")
    refusal = "".join(part["refusal"] for part in parts if part.get("type") == "refusal")
    return content, refusal


def _tools(items: list[JsonObject]) -> Iterator[str]:
    for item in items:
        kind = str(item.get("type"))
        if kind.endswith(_TOOL_SUFFIX):
            yield str(item.get("name") or kind.removesuffix(_TOOL_SUFFIX))


def _agent_id(body: JsonObject) -> str | None:
    reference = object_at(body, "agent_reference")
    name, version = text_at(reference, "name"), text_at(reference, "version")
    return f"{name}:{version}" if name and version else name


def parse_usage(usage: JsonObject) -> Usage:
    """Token counts in flat form; a count that is missing or null stays absent."""
    counts: JsonObject = {
        **{name: usage.get(name) for name in _COUNTS},
        "cached_tokens": object_at(usage, "input_tokens_details").get("cached_tokens"),
        "reasoning_tokens": object_at(usage, "output_tokens_details").get("reasoning_tokens"),
    }
    return {name: count for name, count in counts.items() if isinstance(count, int)}
