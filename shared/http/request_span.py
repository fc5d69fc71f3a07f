"""The trace span of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

from opentelemetry.trace import Span, SpanKind
from starlette.requests import Request
from starlette.responses import AsyncContentStream, Content, Response, StreamingResponse

from ..observability.logs import log_ids
from ..observability.tracing import (
    METHOD,
    REQUEST_ID,
    ROUTE,
    STATUS_CODE,
    URL_SCHEME,
    continued,
    entered,
    fail,
    is_traced,
    start_span,
    within_trace,
)

TRACEPARENT = "traceparent"


async def traced(
    request: Request, request_id: str, template: str, answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Run ``answer`` within a span that ends with the last byte of the response.

    The span has the ``template`` of the route instead of the path, which holds ids and text of
    callers.

    If the Functions host traces the request, our span is a child of the host's current span. Else
    it continues the trace in the caller's headers.
    """
    if not is_traced() and TRACEPARENT not in request.headers:
        with log_ids(request_id=request_id):
            return await answer()
    span = _started(request, request_id, template)
    with log_ids(request_id=request_id), entered(span):
        response = await answer()
    span.set_attribute(STATUS_CODE, response.status_code)
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fail(span, str(response.status_code))
    if isinstance(response, StreamingResponse):
        response.body_iterator = _until_sent(response.body_iterator, span)
    else:
        span.end()
    return response


def _started(request: Request, request_id: str, template: str) -> Span:
    attributes = {
        METHOD: request.method,
        URL_SCHEME: str(request.scope.get("scheme", "http")),
        REQUEST_ID: request_id,
    }
    name = request.method
    if template:
        attributes[ROUTE] = template
        name = f"{name} {template}"
    if within_trace():
        return start_span(name, attributes, SpanKind.INTERNAL, None)
    headers = request.headers
    parent = continued(headers) if TRACEPARENT in headers else None
    return start_span(name, attributes, SpanKind.SERVER, parent)


async def _until_sent(chunks: AsyncContentStream, span: Span) -> AsyncIterator[Content]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        span.end()
