"""The spans of custom tools, under the names of the GenAI conventions."""

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
"""Type of the error of a tool that failed."""

UNKNOWN = "unknown"


def execution(call: FunctionCall, *, known: bool) -> span:
    """The span of a tool's run; what a model asks for and does not exist gives no name."""
    name = call.name if known else UNKNOWN
    attributes = {
        OPERATION_NAME: "execute_tool",
        TOOL_NAME: name,
        TOOL_TYPE: "function",
        TOOL_CALL_ID: call.call_id,
    }
    return span(f"execute_tool {name}", attributes)


def record_output(ran: Span, output: FunctionOutput) -> None:
    """Record whether the tool succeeded."""
    if not output.succeeded:
        fail(ran, TOOL_FAILED)


def record_content(ran: Span, call: FunctionCall, output: FunctionOutput) -> None:
    """Record the arguments and the output, if content is to be recorded."""
    ran.set_attributes({TOOL_ARGUMENTS: call.arguments, TOOL_RESULT: output.output})
