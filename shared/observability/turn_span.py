"""The span of a turn, an `invoke_agent` under the names of the GenAI conventions."""

from __future__ import annotations

import json
from collections.abc import Mapping

from opentelemetry.trace import Span

from ..state.turns import TurnRecord
from .tracing import (
    AGENT_ID,
    AGENT_NAME,
    AGENT_VERSION,
    CACHED_TOKENS,
    CONVERSATION_ID,
    DEPARTMENT,
    DOMAIN,
    END_USER,
    FINISH_REASONS,
    INPUT_MESSAGES,
    INPUT_TOKENS,
    JOB_ID,
    MODE,
    OPERATION_NAME,
    OUTPUT_MESSAGES,
    OUTPUT_TOKENS,
    PROVIDER,
    PROVIDER_NAME,
    REASONING_TOKENS,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_REQUEST_ID,
    TURN_ID,
    fail,
    span,
)

_USAGE = {
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "cached_tokens": CACHED_TOKENS,
    "reasoning_tokens": REASONING_TOKENS,
}


def invocation(agent: str) -> span:
    """The span of a turn; ``agent`` is its name, with or without a version, or empty."""
    attributes = {OPERATION_NAME: "invoke_agent", PROVIDER_NAME: PROVIDER, **agent_ids(agent)}
    name, _, _ = agent.partition(":")
    return span(f"invoke_agent {name}" if name else "invoke_agent", attributes)


def agent_ids(agent: str) -> dict[str, str]:
    """What spans call an agent that is known as `name` or `name:version`; empty for none."""
    if not agent:
        return {}
    name, _, version = agent.partition(":")
    return {AGENT_ID: agent, AGENT_NAME: name} | ({AGENT_VERSION: version} if version else {})


def usage_attributes(usage: Mapping[str, int]) -> dict[str, int]:
    """Token counts; what the service did not say is absent."""
    return {_USAGE[name]: count for name, count in usage.items() if name in _USAGE}


def tell_turn(invoked: Span, turn: TurnRecord, model: str) -> None:
    """What the turn was and what came of it; ``model`` is the one that was asked for."""
    if not invoked.is_recording():
        return
    known = {
        TURN_ID: turn.turn_id,
        END_USER: turn.owner,
        CONVERSATION_ID: turn.thread_id,
        JOB_ID: turn.job_id,
        MODE: turn.mode.value,
        DOMAIN: turn.domain,
        DEPARTMENT: turn.attribution.department,
        RESPONSE_ID: turn.response_id,
        SERVICE_REQUEST_ID: turn.request_id,
    }
    if turn.response_id:  # else nobody said which model answered
        known[RESPONSE_MODEL] = turn.model
    invoked.set_attributes({name: value for name, value in known.items() if value is not None})
    invoked.set_attributes({REQUEST_MODEL: model, **usage_attributes(turn.usage)})
    if turn.agent_id:
        invoked.set_attributes(agent_ids(turn.agent_id))
    if turn.finish_reason:
        invoked.set_attribute(FINISH_REASONS, [turn.finish_reason])
    if turn.error_code:
        fail(invoked, turn.error_code)


def tell_said(invoked: Span, question: str, answer: str | None) -> None:
    """What was said, for where content is asked for."""
    invoked.set_attribute(INPUT_MESSAGES, _messages("user", question))
    if answer is not None:
        invoked.set_attribute(OUTPUT_MESSAGES, _messages("assistant", answer))


def _messages(role: str, text: str) -> str:
    """As the conventions' JSON schema of messages has it."""
    parts = [{"type": "text", "content": text}]
    return json.dumps([{"role": role, "parts": parts}], ensure_ascii=False)
