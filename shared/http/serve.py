"""Where HTTP begins and ends: every request comes in here and every answer leaves here.

Errors become problem documents; an error nobody foresaw is logged with the request's id and told
to the caller without its text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..app import Services
from ..audit.trail import Action
from ..metering.owner_limits import LimitError
from ..observability.upstream import new_upstream
from ..problems import INTERNAL_ERROR, problem_from
from ..text import to_json_bytes, to_utf8
from .action_audit import note
from .principal import ANYBODY, Access, authorized
from .queries import check_names
from .request import Incoming, request_id_of
from .request_span import traced

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
_SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Answers are one caller's own and never a page: nobody may keep them or guess their type."""

_STREAMING = {"X-Accel-Buffering": "no"}
"""Keeps proxies from holding events back."""

PROBLEM_JSON = "application/problem+json"

_HEADER_CHARS = "".join(map(chr, range(0x20, 0x7F)))
"""What stands for itself in a header: printable ASCII. All else is percent-encoded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers."""

    body: dict[str, Any] | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict[str, str])
    lines: Sequence[dict[str, Any]] | None = None
    """In place of a body: JSON documents, one a line."""
    text: str | None = None
    """In place of a body: a text of the media type ``media_type``."""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is sent as it comes into being."""

    chunks: AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict[str, str])


Handler = Callable[[Services, Incoming], Awaitable[Answer | Streamed]]
OpenHandler = Callable[[Services, Incoming], Awaitable[Answer]]


def accepts_events(request: Request) -> bool:
    """Whether a caller wants to see an answer as it comes into being."""
    return EVENT_STREAM in request.headers.get("accept", "").lower()


async def serve(
    services: Services, request: Request, handler: Handler, action: Action | None = None
) -> Response:
    """Answer a request with what ``handler`` makes of it, for callers who may.

    The ``action``, where one is named, goes on record; what is streamed is a turn, which puts
    itself there.
    """
    request_id = request_id_of(request)

    async def answer() -> Response:
        return await _serve(services, Incoming(request, ANYBODY, request_id), handler, action)

    return await traced(request, request_id, answer)


async def _serve(
    services: Services, incoming: Incoming, handler: Handler, action: Action | None
) -> Response:
    started, upstream = perf_counter(), new_upstream()
    request = incoming.request
    error: Exception | None = None
    answer: Answer | Streamed
    with ExitStack() as place:
        try:
            principal = Access(services.settings.access).identify(request)
            incoming = replace(incoming, principal=principal)
            place.enter_context(services.limits.request(principal.owner))
            incoming = replace(incoming, principal=authorized(principal, request))
            incoming.check_query()
            check_names(handler, incoming.query)
            answer = await handler(services, incoming)
        except Exception as caught:  # noqa: BLE001 - the border: the caller hears of everything
            error = caught
            answer = _problem_answer(error, incoming.request_id)
        if isinstance(answer, Streamed):
            return _EventStream(answer, incoming.request_id, place.pop_all())
    if isinstance(error, LimitError):
        services.meter.refuse(error.limit, services.clock())
    seconds = perf_counter() - started
    if action is not None:
        note(services, incoming, action, answer, error, seconds)
    return _response(answer, incoming.request_id, seconds - upstream.seconds)


class _EventStream(StreamingResponse):
    """A stream, whose request has its place among its owner's until the stream is over."""

    def __init__(self, answer: Streamed, request_id: str, place: ExitStack) -> None:
        ours = {**_SAFE_HEADERS, **_STREAMING, "x-request-id": request_id}
        headers = {**_sendable(answer.headers), **ours}
        super().__init__(answer.chunks, headers=headers, media_type=EVENT_STREAM)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def serve_anybody(services: Services, request: Request, handler: OpenHandler) -> Response:
    """Answer a request of whoever sends it; ``handler`` shows nothing that is anybody's."""
    started = perf_counter()
    incoming = Incoming(request, ANYBODY, request_id_of(request))
    try:
        if incoming.path.get("path") is None:  # an unknown address takes anything
            check_names(handler, incoming.query)
        answer = await handler(services, incoming)
    except Exception as error:  # noqa: BLE001 - the border, as above
        answer = _problem_answer(error, incoming.request_id)
    return _response(answer, incoming.request_id, perf_counter() - started)


def _response(answer: Answer, request_id: str, overhead: float) -> Response:
    """The whole answer; ``overhead`` is what we took for it ourselves, in seconds."""
    headers = {**_SAFE_HEADERS, **_sendable(answer.headers), "x-request-id": request_id}
    headers["x-overhead-ms"] = f"{overhead * 1000:.2f}"
    if answer.lines is not None:
        content = b"".join(to_json_bytes(line) + b"\n" for line in answer.lines)
        return Response(content, answer.status, headers, "application/x-ndjson")
    if answer.text is not None:
        content = to_utf8(answer.text)
        return Response(content, answer.status, headers, answer.media_type)
    if answer.body is None:
        return Response(None, answer.status, headers)
    media_type = "application/json" if answer.status < HTTPStatus.BAD_REQUEST else PROBLEM_JSON
    return Response(to_json_bytes(answer.body), answer.status, headers, media_type)


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as HTTP can hold them, whatever a caller brought into their values."""
    return {name: quote(value, _HEADER_CHARS, errors="replace") for name, value in headers.items()}


def _problem_answer(error: Exception, request_id: str) -> Answer:
    problem = problem_from(error)
    if problem is INTERNAL_ERROR:
        log.error("Request %s failed", request_id, exc_info=error)
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    if problem.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # what is still to come of the body is not waited for
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(problem.to_json(request_id), problem.status, headers)
