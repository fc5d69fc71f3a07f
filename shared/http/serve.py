"""Serves requests: authentication, limits, the handler, audit, and the response.

Errors become problem documents. An unexpected error is logged with the request's id, and its text
is not returned to the caller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..audit.trail import Action, AuditTrail
from ..metering.meter import Meter
from ..metering.owner_limits import LimitError, OwnerLimits
from ..observability.upstream import new_upstream
from ..problems import INTERNAL_ERROR, problem_from
from ..state.lanes import Clock
from ..text import to_json_bytes, to_utf8
from .action_audit import EndedAction, note
from .answers import EVENT_STREAM, Answer, Handler, OpenHandler, Streamed
from .faces import NATIVE, NO_HEADERS, Face, Refusal
from .principal import UNAUTHENTICATED, Access, authorized
from .query import Query, read_query
from .request import Incoming, request_id_of
from .request_span import traced

log = logging.getLogger(__name__)

_SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""An answer is private to one caller: no cache may store it and no browser may guess its type."""

_STREAMING = {"X-Accel-Buffering": "no"}
"""Makes proxies send events without buffering."""

PROBLEM_JSON = "application/problem+json"

_HEADER_CHARS = "".join(map(chr, range(0x20, 0x7F)))
"""Characters sent unchanged in a header: printable ASCII. All others are percent-encoded."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The parts that every request uses before and after its handler."""

    access: Access
    limits: OwnerLimits
    meter: Meter
    """Counts the requests that exceed a limit."""
    audit: AuditTrail
    clock: Clock

    def end(self, incoming: Incoming, ended: EndedAction) -> None:
        """Count an exceeded limit, and write the action to the audit trail."""
        if isinstance(ended.error, LimitError):
            self.meter.refuse(ended.error.limit, ended.at)
        note(self.audit, incoming, ended)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the requests to one address are answered."""

    handler: Handler
    query: type[Query] = Query
    action: Action | None = None
    """Written to the audit trail, except for a stream: its turn writes the record."""
    template: str = ""
    """The address in the request's span."""
    face: Face = NATIVE


async def serve(edge: Edge, request: Request, endpoint: Endpoint) -> Response:
    """Authorize the caller, read the query and answer the request."""
    request_id = request_id_of(request)

    async def answer() -> Response:
        incoming = Incoming(request, UNAUTHENTICATED, request_id, face=endpoint.face.name)
        return await _serve(edge, incoming, endpoint)

    return await traced(request, request_id, endpoint.template, answer)


async def _serve(edge: Edge, incoming: Incoming, endpoint: Endpoint) -> Response:
    started, upstream = perf_counter(), new_upstream()
    request, face, is_handled = incoming.request, endpoint.face, False
    error: Exception | None = None
    answer: Answer | Streamed
    with ExitStack() as place:
        try:
            principal = await edge.access.identify(request)
            incoming.principal = principal
            place.enter_context(edge.limits.request(principal.owner))
            incoming.principal = authorized(principal, request)
            incoming.parameters = read_query(endpoint.query, request.query_params)
            is_handled = True
            answer = await endpoint.handler(incoming)
        except Exception as caught:  # noqa: BLE001 - the border: every error becomes an answer
            error = caught
            answer = problem_answer(error, incoming.request_id)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                answer.headers["WWW-Authenticate"] = edge.access.challenge(request)
        if isinstance(answer, Streamed):
            headers = face.headers(perf_counter() - started)
            return _EventStream(answer, headers, incoming.request_id, place.pop_all())
    seconds, action = perf_counter() - started, endpoint.action
    edge.end(incoming, EndedAction(action, incoming.path, answer, error, edge.clock(), seconds))
    if answer.status >= HTTPStatus.BAD_REQUEST:
        answer = face.refuse(Refusal(answer, may_have_run=is_handled))
    overhead = max(seconds - upstream.seconds, 0.0)  # calls side by side take longer together
    return _response(answer, incoming.request_id, overhead, face.headers(seconds))


class _EventStream(StreamingResponse):
    """A stream, which counts against its owner's limit of requests until it ends."""

    def __init__(
        self, answer: Streamed, headers: Mapping[str, str], request_id: str, place: ExitStack
    ) -> None:
        ours = {**headers, **_SAFE_HEADERS, **_STREAMING, "x-request-id": request_id}
        headers = {**_sendable(answer.headers), **ours}
        super().__init__(answer.chunks, headers=headers, media_type=EVENT_STREAM)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def serve_open(
    request: Request, handler: OpenHandler, query: type[Query] | None = Query
) -> Response:
    """Answer an unauthenticated request; ``handler`` must not return data of an owner.

    Without a ``query``, any is taken.
    """
    started = perf_counter()
    incoming = Incoming(request, UNAUTHENTICATED, request_id_of(request))
    try:
        if query is not None:
            incoming.parameters = read_query(query, request.query_params)
        answer = await handler(incoming)
    except Exception as error:  # noqa: BLE001 - the border: every error becomes an answer
        answer = problem_answer(error, incoming.request_id)
    return _response(answer, incoming.request_id, perf_counter() - started)


def _response(
    answer: Answer, request_id: str, overhead: float, more: Mapping[str, str] = NO_HEADERS
) -> Response:
    """The HTTP response; ``overhead`` is the time spent in the app itself, in seconds."""
    headers = {**_SAFE_HEADERS, **more, **_sendable(answer.headers), "x-request-id": request_id}
    headers["x-overhead-ms"] = f"{overhead * 1000:.2f}"
    if answer.lines is not None:
        content = b"".join(to_json_bytes(line) + b"\n" for line in answer.lines)
        return Response(content, answer.status, headers, "application/x-ndjson")
    if answer.content is not None:
        content = answer.content
        content = to_utf8(content) if isinstance(content, str) else content
        return Response(content, answer.status, headers, answer.media_type)
    if answer.body is None:
        return Response(None, answer.status, headers)
    media_type = "application/json" if answer.status < HTTPStatus.BAD_REQUEST else PROBLEM_JSON
    return Response(to_json_bytes(answer.body), answer.status, headers, media_type)


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Percent-encode header values, which may hold text of a caller.

    The server closes the connection instead of sending a value that begins or ends with a space.
    """
    return {
        name: quote(value.strip(" "), _HEADER_CHARS, errors="replace")
        for name, value in headers.items()
    }


def problem_answer(error: Exception, request_id: str) -> Answer:
    """The answer to a request that failed; an unexpected error is logged."""
    problem = problem_from(error)
    if problem is INTERNAL_ERROR:
        log.error("Request %s failed", request_id, exc_info=error)
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    if problem.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # do not wait for the rest of the body
    return Answer(problem.to_json(request_id), problem.status, headers)
