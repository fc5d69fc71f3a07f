"""Traces: what a request or a job does, in spans for whoever listens.

Only the OpenTelemetry api is used. Where no SDK is set up, a span costs about a microsecond, goes
nowhere, and the trace context that came in is passed on as it came. What was said is in no span
unless a setting asks for it: errors are told by their code, never by their text.

Names: https://opentelemetry.io/docs/specs/semconv/registry/attributes/ and
https://github.com/open-telemetry/semantic-conventions-genai; those that begin with ``aos.`` are
this product's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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
"""As `error.type`, which Application Insights does not keep."""
MODE = "aos.mode"
JOB_ID = "aos.job.id"
REQUEST_ID = "aos.request.id"
TURN_ID = "aos.turn.id"

PROVIDER = "azure.ai.inference"
"""Azure AI Foundry among the conventions' providers."""

Attributes = Mapping[str, str | bool | int | float | list[str]]

_tracer = trace.get_tracer(TRACER_NAME)
_w3c = TraceContextTextMapPropagator()


class entered:  # noqa: N801 - used as a function: `with entered(span)`
    """Makes what a block starts part of a span; an error that leaves the block marks the span."""

    __slots__ = ("_attached", "_token", "span")

    _token: Token[Context]

    def __init__(self, entered_span: Span, *, attached: bool = True) -> None:
        """Take a span; not ``attached``, only errors count."""
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
        if error is not None and not isinstance(error, GeneratorExit):  # who stops reading may
            fail(self.span, error_type(error))


class span(entered):  # noqa: N801 - used as a function: `with span("write", ...)`
    """A part of a trace that lasts as long as a block.

    With ``current=False``, what the block starts is no part of it: an async generator cannot set
    what is current, for its caller would run under it.
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
        """Start it, in ``parent`` with a link to what is current, or else in what is current."""
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
    if parent is not None and (place := _place()).is_valid:
        links = [Link(place)]
    return _tracer.start_span(name, parent, kind, attributes, links)


def error_type(error: BaseException) -> str:
    """How spans name an error: by its code where it has one, else by its class."""
    return str(getattr(error, "code", None) or type(error).__qualname__)


def fail(failed: Span, kind: str) -> None:
    """Mark a span as failed by an error of a kind."""
    failed.set_attributes({ERROR_TYPE: kind, ERROR_CODE: kind})
    failed.set_status(StatusCode.ERROR)


def within_trace() -> bool:
    """Whether what runs now is part of a trace."""
    return _place().is_valid


def _place() -> SpanContext:
    return trace.get_current_span().get_span_context()


def inject(headers: dict[str, str], traced: Span | None = None) -> None:
    """Add W3C trace context to ``headers``, of what is current or of another span."""
    _w3c.inject(headers, None if traced is None else trace.set_span_in_context(traced))


def carried() -> dict[str, str]:
    """The trace context to keep with work that is done later; empty outside of a trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier


def continued(carrier: Mapping[str, str]) -> Context:
    """What `carried` kept, or a request's headers brought, as a parent; what is unreadable counts
    as nothing."""
    return _w3c.extract(carrier, Context())
