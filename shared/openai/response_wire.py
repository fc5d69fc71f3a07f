"""The response object, with every member that clients expect.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Literal, NotRequired

from ..config import FoundryAgentServiceConfig
from ..documents import Document, JsonObject
from ..foundry.models import ClientCall, FinishReason, RequestKind, ToolRequest, TurnResult
from ..foundry.tools.unanswered import APPROVAL_REQUEST
from ..problems import Problem, ProblemError, ProblemKind
from ..state.content import REQUESTS as ASKED
from ..state.jobs import Job, JobStatus
from ..state.keys import made_at
from ..turns.command import AnsweredTurn
from ..turns.documents import CALLS
from .items import item_id
from .response_body import ResponseCreate
from .tools import AskedTools, read_tools

RESPONSE = "response"

CONSENT_REQUEST = "oauth_consent_request"
REQUESTS = {APPROVAL_REQUEST, CONSENT_REQUEST}
"""Types of output items that ask something of the caller."""

TOO_LONG = Problem(
    ProblemKind.ANSWER_NOT_KEPT, "The response was answered, but it was too long to be stored."
)


class ResponseStatus(StrEnum):
    """The states of a response."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the response has ended."""
        return self not in {ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS}


class ResponseError(Document):
    """Why a response failed."""

    code: str
    message: str


class InputTokens(Document):
    """More about the tokens of the input."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokens(Document):
    """More about the tokens of the output."""

    reasoning_tokens: int


class ResponseUsage(Document):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class IncompleteDetails(Document):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens", "content_filter"]


class ConversationReference(Document):
    """The conversation of a response."""

    id: str


class ResponseDocument(Document):
    """A response."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    """Null unless it is completed."""
    status: ResponseStatus
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[JsonObject]
    """Messages of the model, calls of functions that the caller runs, and what tools ask of the
    caller: approvals and consents."""
    usage: ResponseUsage | None
    """Null while it runs, and if the service reported no tokens."""
    previous_response_id: str | None
    conversation: ConversationReference | None
    instructions: str | None
    tools: list[JsonObject]
    tool_choice: str | JsonObject
    parallel_tool_calls: bool
    text: JsonObject
    temperature: float
    top_p: float
    max_output_tokens: int | None
    max_tool_calls: int | None
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    truncation: str
    reasoning: JsonObject | None
    store: bool
    background: bool
    service_tier: str
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    content_recorded: NotRequired[bool]
    """False in a stored response without its texts."""


@dataclass(frozen=True, slots=True)
class ResponseForm:
    """How the responses to one request look."""

    body: ResponseCreate
    tools: AskedTools
    config: FoundryAgentServiceConfig
    _made: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject], repr=False)
    """The answer by its turn: it is stored, kept for a repeated request, and returned."""

    def begun(self, response_id: str, status: ResponseStatus) -> JsonObject:
        """The response before it has an answer."""
        return self._object(response_id, status, model=self.body.model)

    def answered(self, turn: AnsweredTurn) -> JsonObject:
        """The response with its answer."""
        if turn.turn_id not in self._made:
            begun = self.begun(response_id_of(turn.turn_id), ResponseStatus.IN_PROGRESS)
            answer = answered_by(begun, turn.result, turn.finished_at, self.tools)
            self._made[turn.turn_id] = answer
        return self._made[turn.turn_id]

    def failed(self, response_id: str, problem: Mapping[str, Any]) -> JsonObject:
        """The response of a turn that failed with a problem document."""
        return ended_by(self.begun(response_id, ResponseStatus.FAILED), problem)

    def _object(self, response_id: str, status: ResponseStatus, *, model: str) -> JsonObject:
        body, more = self.body, self.body.model_extra or {}
        conversation = body.conversation_id
        document: ResponseDocument = {
            "id": response_id,
            "object": RESPONSE,
            "created_at": created_at(response_id),
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            "previous_response_id": body.previous_response_id,
            "conversation": {"id": conversation} if conversation else None,
            "instructions": body.instructions,
            "tools": [_shown_tool(tool) for tool in body.tools or []],
            "tool_choice": body.tool_choice or "auto",
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "temperature": _given(body.temperature, self.config.temperature),
            "top_p": _given(body.top_p, self.config.top_p),
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "top_logprobs": 0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "truncation": "disabled",
            "reasoning": more.get("reasoning"),
            "store": body.stores,
            "background": bool(body.background),
            "service_tier": "default",
            "metadata": body.metadata or {},
            "user": body.user,
            "safety_identifier": body.safety_identifier,
            "prompt_cache_key": more.get("prompt_cache_key"),
        }
        return {**document}


def answered_by(
    begun: JsonObject, result: TurnResult, at: datetime, tools: AskedTools
) -> JsonObject:
    """A response with its answer."""
    is_whole = result.finish_reason is not FinishReason.LENGTH
    status = ResponseStatus.COMPLETED if is_whole else ResponseStatus.INCOMPLETE
    return {
        **begun,
        "status": status,
        "model": result.model or begun["model"],
        "completed_at": ended_at(begun["id"], at) if is_whole else None,
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "output": output_items(ulid_of(begun["id"]), result, status, tools),
        "usage": response_usage(result.usage),
    }


_RUNNING = {
    JobStatus.QUEUED: ResponseStatus.QUEUED,
    JobStatus.RUNNING: ResponseStatus.IN_PROGRESS,
}

_EXPIRED = {"status": 410, "code": "expired", "detail": "The job ended without an answer."}


def of_job(begun: JsonObject, job: Job) -> JsonObject:
    """A response in the background, in the state of its job.

    Raises:
        ProblemError: if its answer was too long to be stored.
    """
    if status := _RUNNING.get(job.status):
        return {**begun, "status": status}
    if job.status is not JobStatus.SUCCEEDED or not job.results:
        return ended_by(begun, job.problem or _EXPIRED)
    answer = job.results[-1]
    if answer["truncated"]:
        raise ProblemError(TOO_LONG)
    result = TurnResult(
        content=answer["content"] or "",
        finish_reason=FinishReason(answer["finish_reason"]),
        response_id="",
        model=answer["model"],
        usage=answer["usage"],
        calls=tuple(map(_client_call, answer.get(CALLS, ()))),
        requests=tuple(map(_tool_request, answer.get(ASKED, ()))),
        refusal=answer.get("refusal"),
    )
    tools = read_tools(begun["tools"], None, parallel=None)
    return answered_by(begun, result, job.finished_at or job.created_at, tools)


def _client_call(item: Mapping[str, Any]) -> ClientCall:
    return ClientCall(item["call_id"], item["name"], item["arguments"])


def _tool_request(request: Mapping[str, Any]) -> ToolRequest:
    return ToolRequest(**{**request, "kind": RequestKind(request["kind"])})


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _shown_tool(tool: Mapping[str, Any]) -> JsonObject:
    """A tool as a response has it: a function with all its members."""
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, "strict": False, **tool}


def ended_by(begun: JsonObject, problem: Mapping[str, Any]) -> JsonObject:
    """A response that a problem ended."""
    ended = {**begun, "completed_at": None, "status": ResponseStatus.FAILED}
    if problem["code"] == "content_filter":
        details = {"reason": "content_filter"}
        return {**ended, "status": ResponseStatus.INCOMPLETE, "incomplete_details": details}
    if problem["code"] == "cancelled":
        return {**ended, "status": ResponseStatus.CANCELLED}
    error = {"code": _error_code(problem["status"]), "message": problem["detail"]}
    return {**ended, "error": error}


def _error_code(status: int) -> str:
    """One of the few codes that clients know."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_exceeded"
    return "invalid_prompt" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def response_id_of(identifier: str) -> str:
    """The id of a response, given that of its turn or job."""
    return f"resp_{ulid_of(identifier)}"


def ulid_of(identifier: str) -> str:
    """The ULID of an id."""
    return identifier.partition("_")[2]


def created_at(identifier: str) -> int:
    """When an object was created, in seconds since 1970, given its id."""
    return int(made_at(identifier).timestamp())


def ended_at(identifier: str, moment: datetime) -> int:
    """When an object ended: not before it was created, by clocks that differ."""
    return max(int(moment.timestamp()), created_at(identifier))


def output_items(
    ulid: str, result: TurnResult, status: ResponseStatus, tools: AskedTools
) -> list[JsonObject]:
    """What the model said and called."""
    items: list[JsonObject] = []
    if result.content or not (result.calls or result.requests):
        items.append(message_of(ulid, result.content, result.refusal, status))
    for call in result.calls:
        number = len(items)
        items.append(call_of(ulid, number, call.call_id, call.name, call.arguments, tools))
    return [*items, *map(_request_of, result.requests)]


def _request_of(request: ToolRequest) -> JsonObject:
    """What a tool that Foundry runs asks of the caller, in Foundry's own form."""
    asked: JsonObject = {"id": request.id, "server_label": request.server}
    if request.kind is RequestKind.CONSENT:
        return {**asked, "type": CONSENT_REQUEST, "consent_link": request.link}
    call = {"name": request.tool or "", "arguments": request.arguments or "{}"}
    return {**asked, "type": APPROVAL_REQUEST, **call}


def message_of(ulid: str, text: str, refusal: str | None, status: str) -> JsonObject:
    """The message of a model, which is the first item of its response."""
    part: JsonObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if refusal is not None:
        part = {"type": "refusal", "refusal": refusal}
    return {
        "id": item_id("message", ulid, 0, is_output=True),
        "type": "message",
        "status": str(status),
        "role": "assistant",
        "content": [part],
    }


def call_of(
    ulid: str, number: int, call_id: str, name: str, arguments: str, tools: AskedTools
) -> JsonObject:
    """A call of a function that the caller runs."""
    space = tools.namespaces.get(name)
    item: JsonObject = {
        "id": item_id("function_call", ulid, number, is_output=True),
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": space[1] if space else name,
        "arguments": arguments,
    }
    return {**item, "namespace": space[0]} if space else item


def response_usage(usage: Mapping[str, int]) -> ResponseUsage | None:
    """Token counts in the form of this API; None if they were not reported."""
    if "input_tokens" not in usage or "output_tokens" not in usage:
        return None
    return {
        "input_tokens": usage["input_tokens"],
        "input_tokens_details": {
            "cached_tokens": usage.get("cached_tokens", 0),
            "cache_write_tokens": 0,
        },
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "total_tokens": usage.get("total_tokens", usage["input_tokens"] + usage["output_tokens"]),
    }
