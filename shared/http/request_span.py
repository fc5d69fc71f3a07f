"""A request as a span of its caller's trace."""

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
    start_span,
    within_trace,
)

TRACEPARENT = "traceparent"

_TEMPLATE = "aos.route_template"
"""Where a request's scope has the template of its route: a path as it was called has ids, and may
have anything."""


def name_route(request: Request, template: str) -> None:
    """Let the span of a request bear the template of the route that it came in by."""
    request.scope[_TEMPLATE] = template


async def traced(
    request: Request, request_id: str, answer: Callable[[], Awaitable[Response]]
) -> Response:
    """What ``answer`` gives, within a span that ends with the answer's last byte.

    The Functions host, where it traces, has a span for the request already and made it current;
    ours is a part of that. Elsewhere ours continues the trace that the caller's headers name.
    """
    span = _started(request, request_id)
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


def _started(request: Request, request_id: str) -> Span:
    template: str | None = request.scope.get(_TEMPLATE)
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
