"""The spans of custom tools, with the names of OpenTelemetry's GenAI conventions."""

from __future__ import annotations

from opentelemetry.trace import Span

from ...observability.tracing import (
    OPERATION_NAME,
    TOOL_ARGUMENTS,
    TOOL_CALL_ID,
    TOOL_NAME,
    TOOL_RESULT,
    TOOL_TYPE,
    fail,
    span,
)
from .calls import FunctionCall, FunctionOutput

TOOL_FAILED = "tool_failed"
"""The `error.type` of a tool call that failed."""

UNKNOWN = "unknown"


def execution(call: FunctionCall, *, known: bool) -> span:
    """The span of a tool call; its name is `unknown` if there is no such tool."""
    name = call.name if known else UNKNOWN
    attributes = {
        OPERATION_NAME: "execute_tool",
        TOOL_NAME: name,
        TOOL_TYPE: "function",
        TOOL_CALL_ID: call.call_id,
    }
    return span(f"execute_tool {name}", attributes)


def record_output(ran: Span, output: FunctionOutput) -> None:
    """Mark the span as failed if the tool failed."""
    if not output.succeeded:
        fail(ran, TOOL_FAILED)


def record_content(ran: Span, call: FunctionCall, output: FunctionOutput) -> None:
    """Add the arguments and the output to the span."""
    ran.set_attributes({TOOL_ARGUMENTS: call.arguments, TOOL_RESULT: output.output})
