"""A request as a span of its caller's trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

from opentelemetry.trace import Span, SpanKind
from starlette.requests import Request
from starlette.responses import AsyncContentStream, Content, Response, StreamingResponse

from ..telemetry.log_ids import log_ids
from ..telemetry.tracing import (
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
    route = route_of(request)
    attributes = {
        METHOD: request.method,
        ROUTE: route,
        URL_SCHEME: str(request.scope.get("scheme", "http")),
        REQUEST_ID: request_id,
    }
    name = f"{request.method} {route}"
    if within_trace():
        return start_span(name, attributes, SpanKind.INTERNAL, None)
    headers = request.headers
    parent = continued(headers) if TRACEPARENT in headers else None
    return start_span(name, attributes, SpanKind.SERVER, parent)


def route_of(request: Request) -> str:
    """The route's template: the path with its parameters by name."""
    path: str = request.scope["path"]
    if not request.path_params:
        return path
    names = {str(value): f"{{{name}}}" for name, value in request.path_params.items()}
    return "/".join(names.get(part, part) for part in path.split("/"))


async def _until_sent(chunks: AsyncContentStream, span: Span) -> AsyncIterator[Content]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        span.end()
