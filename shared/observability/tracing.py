"""Traces: spans of requests, jobs, turns and the calls that they make.

Only the OpenTelemetry API is used. Without an SDK, no span is made, except to pass on the trace
context of a caller unchanged. Spans contain message texts only if a
setting enables that; an error is recorded by its code, never by its text.

Names: https://opentelemetry.io/docs/specs/semconv/registry/attributes/ and
https://github.com/open-telemetry/semantic-conventions-genai; those that begin with ``aos.`` are
this product's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..state.turns import TurnRecord

TRACER_NAME = "agent-operating-system-foundry"

AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CONVERSATION_ID = "gen_ai.conversation.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_MESSAGES = "gen_ai.input.messages"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
MAX_TOKENS = "gen_ai.request.max_tokens"
OPERATION_NAME = "gen_ai.operation.name"
OUTPUT_MESSAGES = "gen_ai.output.messages"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
PROVIDER_NAME = "gen_ai.provider.name"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
STREAM = "gen_ai.request.stream"
TEMPERATURE = "gen_ai.request.temperature"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_NAME = "gen_ai.tool.name"
TOOL_RESULT = "gen_ai.tool.call.result"
TOOL_TYPE = "gen_ai.tool.type"
TOP_P = "gen_ai.request.top_p"

BATCH_SIZE = "db.operation.batch.size"
COLLECTION = "db.collection.name"
DATABASE = "db.system.name"
DATABASE_OPERATION = "db.operation.name"
DESTINATION = "messaging.destination.name"
END_USER = "enduser.id"
ERROR_TYPE = "error.type"
METHOD = "http.request.method"
MESSAGING_OPERATION = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_SYSTEM = "messaging.system"
RESEND_COUNT = "http.request.resend_count"
ROUTE = "http.route"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
SERVICE_REQUEST_ID = "azure.service.request.id"
STATUS_CODE = "http.response.status_code"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"

DEPARTMENT = "aos.department"
DOMAIN = "aos.domain"
ERROR_CODE = "aos.error.code"
"""The same as `error.type`, which Application Insights drops."""
MODE = "aos.mode"
JOB_ID = "aos.job.id"
REQUEST_ID = "aos.request.id"
TURN_ID = "aos.turn.id"

PROVIDER = "azure.ai.inference"
"""Azure AI Foundry in the conventions' list of providers."""

Attributes = Mapping[str, str | bool | int | float | list[str]]

_tracer = trace.get_tracer(TRACER_NAME)
_w3c = TraceContextTextMapPropagator()


class entered:  # noqa: N801 - used as a function: `with entered(span)`
    """Makes a span current during a block; an error that leaves the block marks it as failed."""

    __slots__ = ("_attached", "_token", "span")

    _token: Token[Context]

    def __init__(self, entered_span: Span, *, attached: bool = True) -> None:
        """Take a span; if it is not ``attached``, only errors are recorded."""
        self.span = entered_span
        self._attached = attached

    def __enter__(self) -> Span:
        if self._attached:
            self._token = context.attach(trace.set_span_in_context(self.span))
        return self.span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._attached:
            context.detach(self._token)
        if error is not None and not isinstance(error, GeneratorExit):  # a reader may stop
            fail(self.span, error_type(error))


UNTRACED = entered(INVALID_SPAN, attached=False)
"""The span of a block that is not traced; any number of blocks may use it at once."""


class span(entered):  # noqa: N801 - used as a function: `with span("write", ...)`
    """A span that lasts as long as a block.

    With ``current=False``, spans that the block starts are not its children: an async generator
    must not set the current span, because its caller would run under it.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        attributes: Attributes | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        parent: Context | None = None,
        current: bool = True,
    ) -> None:
        """Start a child of ``parent`` with a link to the current span, or a child of the latter."""
        started = start_span(name, attributes, kind, parent)
        attached = current and (parent is not None or started.is_recording())
        super().__init__(started, attached=attached)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self.span.end()


def start_span(
    name: str, attributes: Attributes | None, kind: SpanKind, parent: Context | None
) -> Span:
    """Start a span that its owner ends, as `span` does."""
    links = None
    if parent is not None and (current_span := _current()).is_valid:
        links = [Link(current_span)]
    return _tracer.start_span(name, parent, kind, attributes, links)


def error_type(error: BaseException) -> str:
    """The name of an error in spans: its code, or else its class."""
    return str(getattr(error, "code", None) or type(error).__qualname__)


def fail(failed: Span, kind: str) -> None:
    """Mark a span as failed by an error of a kind."""
    failed.set_attributes({ERROR_TYPE: kind, ERROR_CODE: kind})
    failed.set_status(StatusCode.ERROR)


def within_trace() -> bool:
    """Whether the current task is part of a trace."""
    return _current().is_valid


def is_traced() -> bool:
    """Whether a span would be exported, or pass on the trace context of a caller."""
    return within_trace() or not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


def _current() -> SpanContext:
    return trace.get_current_span().get_span_context()


def inject(headers: dict[str, str], traced: Span | None = None) -> None:
    """Add W3C trace context to ``headers``, of the current span or of another."""
    if traced is INVALID_SPAN:
        return
    _w3c.inject(headers, None if traced is None else trace.set_span_in_context(traced))


def carried() -> dict[str, str]:
    """The trace context to store with deferred work; empty outside of a trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier


def continued(carrier: Mapping[str, str]) -> Context:
    """Read a parent from the result of `carried`, or from headers; an invalid one is ignored."""
    return _w3c.extract(carrier, Context())


_USAGE = {
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "cached_tokens": CACHED_TOKENS,
    "reasoning_tokens": REASONING_TOKENS,
}


def turn_span(agent: str) -> entered:
    """The span of a turn; ``agent`` is empty, `name` or `name:version`."""
    if not is_traced():
        return UNTRACED
    attributes = {OPERATION_NAME: "invoke_agent", PROVIDER_NAME: PROVIDER, **agent_ids(agent)}
    name, _, _ = agent.partition(":")
    return span(f"invoke_agent {name}" if name else "invoke_agent", attributes)


def agent_ids(agent: str) -> dict[str, str]:
    """The attributes of an agent given as `name` or `name:version`; empty without one."""
    if not agent:
        return {}
    name, _, version = agent.partition(":")
    return {AGENT_ID: agent, AGENT_NAME: name} | ({AGENT_VERSION: version} if version else {})


def usage_attributes(usage: Mapping[str, int]) -> dict[str, int]:
    """The attributes of token counts, without those that the service did not report."""
    return {_USAGE[name]: count for name, count in usage.items() if name in _USAGE}


def record_turn(invoked: Span, turn: TurnRecord, model: str) -> None:
    """Add a turn's ids, usage and outcome to its span; ``model`` is the one in the request."""
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
    if turn.response_id:  # else the model that answered is not known
        known[RESPONSE_MODEL] = turn.model
    invoked.set_attributes({name: value for name, value in known.items() if value is not None})
    invoked.set_attributes({REQUEST_MODEL: model, **usage_attributes(turn.usage)})
    if turn.agent_id:
        invoked.set_attributes(agent_ids(turn.agent_id))
    if turn.finish_reason:
        invoked.set_attribute(FINISH_REASONS, [turn.finish_reason])
    if turn.error_code:
        fail(invoked, turn.error_code)


def record_content(invoked: Span, question: str, answer: str | None) -> None:
    """Add the question and the answer to a turn's span."""
    invoked.set_attribute(INPUT_MESSAGES, _messages("user", question))
    if answer is not None:
        invoked.set_attribute(OUTPUT_MESSAGES, _messages("assistant", answer))


def _messages(role: str, text: str) -> str:
    """A message in the JSON schema of the conventions."""
    parts = [{"type": "text", "content": text}]
    return json.dumps([{"role": role, "parts": parts}], ensure_ascii=False)
