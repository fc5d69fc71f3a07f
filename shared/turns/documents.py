"""The result of a turn as JSON, in the form of each route."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, NotRequired

from ..config import ModelType
from ..documents import Document, JsonObject
from ..foundry.errors import FoundryError
from ..foundry.models import FinishReason, RequestKind
from ..state.content import CONTENT_RECORDED, REQUESTS
from .command import AnsweredTurn, Attempt, TurnCommand

CALLS = "calls"
"""Member of a job's result: the calls that its caller runs."""

NO_SOURCE = "model_orchestrator"
"""The `source` of a failure: no model answered."""


class AttemptDocument(Document):
    """A model that was asked."""

    model_type: ModelType
    error_code: str | None
    """Why it gave no answer; null for the one that did."""


class UsageCounts(Document):
    """Token counts; those that the model's service did not report are absent."""

    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]


class UpstreamIds(Document):
    """Foundry's ids of the answer."""

    response_id: str
    request_id: str | None


class ToolRequestDocument(Document):
    """A tool that Foundry runs, and that waits for its user."""

    id: str
    kind: RequestKind
    """`approval`: answer it in `approvals` of the next message on the thread. `consent`: open
    `link`, then send the message again."""
    server: str
    """The label of the MCP server or connection."""
    tool: str | None
    """The tool that is to run; null for a consent."""
    arguments: str | None
    """JSON text of its arguments; null where texts are not recorded."""
    link: str | None
    """Where the user consents."""


class _Answered(Document):
    finish_reason: FinishReason
    """`length` if the answer was cut at `max_tokens`; `approval` if a tool in `requests` waits for
    its user; `tool_calls` if `calls` has what the caller is to run."""
    requests: NotRequired[list[ToolRequestDocument]]
    """What tools ask of the caller; absent if nothing."""
    model: str
    agent_id: str | None
    tools_used: list[str]
    usage: UsageCounts
    source: ModelType
    """The model that answered."""
    fallback_from: ModelType | None
    """The model that was asked first, if another one answered."""


class _Recorded(Document):
    content_recorded: NotRequired[bool]
    """False in a stored answer without its texts, which are null."""


class TurnDocument(_Answered, _Recorded):
    """An answered message."""

    turn_id: str
    thread_id: str | None
    content: str | None
    """The answer; null only where an answer without its texts is replayed."""
    parsed: Any
    """The answer as JSON, if the request had a `response_format`."""
    metadata: UpstreamIds
    success: bool
    error: str | None


class ResultDocument(_Answered, _Recorded):
    """The answer to a message of a job; jobs of earlier versions lack the last three members."""

    turn_id: str
    content: str | None
    """The answer; null where texts are not recorded."""
    calls: NotRequired[list[JsonObject]]
    """Calls of functions that the caller runs."""
    refusal: NotRequired[str | None]
    """The text with which the model refused; then also the content."""
    truncated: bool
    """Whether the answer was too long to be stored whole; the thread's messages have it."""
    attempts: NotRequired[list[AttemptDocument]]
    """The models that were asked, in order; empty if only Foundry could answer."""
    execution_time: NotRequired[float]
    """Seconds."""
    metadata: NotRequired[UpstreamIds]


class OrchestrationDocument(_Answered, _Recorded):
    """An answered message of a conversation."""

    turn_id: str
    thread_id: str | None
    conversationId: str | None  # noqa: N815 - documented
    """Your own id of the conversation."""
    domain: str
    reply: str | None
    """The answer; null only where an answer without its texts is replayed."""
    success: bool
    error: str | None
    model_type: ModelType
    """The model that was asked first."""
    attempts: list[AttemptDocument]
    """The models that were asked, in order."""
    parsed: Any
    """The answer as JSON, if the request had a `response_format`."""
    execution_time: float
    """Seconds."""
    timestamp: str
    """When the turn ended."""


def turn_document(turn: AnsweredTurn) -> dict[str, Any]:
    """An answered turn as `/messages` and `/threads` return it."""
    return as_turn(_answer(turn), turn.thread_id, turn.result.parsed)


def orchestration_document(turn: AnsweredTurn, command: TurnCommand) -> dict[str, Any]:
    """An answered turn as `/orchestrate` and `process_model_request` return it."""
    return as_orchestration(
        _answer(turn),
        turn.thread_id,
        turn.result.parsed,
        conversation_id=command.conversation_id,
        domain=command.request.domain,
        finished_at=turn.finished_at,
    )


def job_result_document(turn: AnsweredTurn, most_bytes: int) -> dict[str, Any]:
    """An answered turn as stored in a job's row, with the answer cut to ``most_bytes``."""
    content = kept = turn.result.content
    while len(json.dumps(kept, ensure_ascii=False).encode(errors="replace")) > most_bytes:
        kept = kept[: len(kept) * 4 // 5]
    document = {**_answer(turn), "content": kept, "truncated": len(kept) < len(content)}
    result = turn.result
    if result.calls:
        document[CALLS] = [call.to_item() for call in result.calls]
    return document if result.refusal is None else {**document, "refusal": result.refusal}


def _answer(turn: AnsweredTurn) -> dict[str, Any]:
    """The members from which the documents of all routes are made."""
    result, replaced = turn.result, turn.fallback_from
    asked = [asdict(each) for each in result.requests]
    return {
        **({REQUESTS: asked} if asked else {}),
        "turn_id": turn.turn_id,
        "content": result.content,
        "finish_reason": result.finish_reason.value,
        "model": result.model,
        "agent_id": result.agent_id,
        "tools_used": list(result.tools_used),
        "usage": result.usage,
        "source": turn.source.value,
        "fallback_from": replaced.value if replaced else None,
        "attempts": [attempt.to_json() for attempt in turn.attempts],
        "execution_time": round(turn.seconds, 6),
        "metadata": {"response_id": result.response_id, "request_id": result.request_id},
    }


def as_turn(answer: Mapping[str, Any], thread_id: str | None, parsed: Any) -> dict[str, Any]:
    """An answer, which may be stored in a job's row, as `/messages` and `/threads` return it."""
    return {
        "turn_id": answer["turn_id"],
        "thread_id": thread_id,
        "content": answer["content"],
        **_common(answer),
        "parsed": parsed,
        **_models(answer),
        "metadata": answer["metadata"],
        "success": True,
        "error": None,
        **_recorded(answer),
    }


def as_orchestration(
    answer: Mapping[str, Any],
    thread_id: str | None,
    parsed: Any,
    *,
    conversation_id: str | None,
    domain: str,
    finished_at: datetime,
) -> dict[str, Any]:
    """An answer, which may be stored in a job's row, as `/orchestrate` returns it."""
    return {
        "turn_id": answer["turn_id"],
        "thread_id": thread_id,
        "conversationId": conversation_id,
        "domain": domain,
        "reply": answer["content"],
        "success": True,
        "error": None,
        **_common(answer),
        **_models(answer),
        "model_type": answer["attempts"][0]["model_type"],
        "attempts": answer["attempts"],
        "parsed": parsed,
        "execution_time": answer["execution_time"],
        "timestamp": finished_at.isoformat(),
        **_recorded(answer),
    }


def orchestration_failure(
    error: FoundryError, command: TurnCommand, attempts: list[Attempt], seconds: float
) -> dict[str, Any]:
    """The result of `process_model_request` if no model answered, without the timestamp."""
    return {
        "turn_id": None,
        "thread_id": None,
        "conversationId": command.conversation_id,
        "domain": command.request.domain,
        "reply": "",
        "success": False,
        "error": error.message,
        "error_code": error.code,
        "source": NO_SOURCE,
        "model_type": command.model_type.value if command.model_type else None,
        "fallback_from": None,
        "attempts": [attempt.to_json() for attempt in attempts],
        "model": None,
        "agent_id": None,
        "tools_used": [],
        "parsed": None,
        "usage": {},
        "finish_reason": None,
        "execution_time": round(seconds, 6),
    }


def _common(answer: Mapping[str, Any]) -> dict[str, Any]:
    names = ("finish_reason", REQUESTS, "model", "agent_id", "tools_used")
    return {name: answer[name] for name in names if name in answer}


def _models(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("usage", "source", "fallback_from")}


def _recorded(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The member that says that the texts of a stored answer are not recorded."""
    return {name: answer[name] for name in (CONTENT_RECORDED,) if name in answer}
