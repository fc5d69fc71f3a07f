"""Where HTTP begins and ends: every request comes in here and every answer leaves here.

Errors become problem documents; an error nobody foresaw is logged with the request's id and told
to the caller without its text.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..problems import INTERNAL_ERROR, problem_from
from ..services import Services
from ..telemetry.upstream import new_stopwatch
from .incoming import Incoming, request_id_of
from .principal import function_key_principal

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
_STREAMING = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Keep proxies from holding events back."""

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers."""

    body: dict[str, Any] | None
    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is sent as it comes into being."""

    chunks: AsyncIterator[bytes]


Handler = Callable[[Services, Incoming], Awaitable[Answer | Streamed]]


async def serve(services: Services, request: Request, handler: Handler) -> Response:
    """Answer a request with what ``handler`` makes of it."""
    started, upstream = perf_counter(), new_stopwatch()
    request_id = request_id_of(request)
    incoming = Incoming(request, function_key_principal(), request_id)
    try:
        answer = await handler(services, incoming)
    except Exception as error:  # noqa: BLE001 - the border: whatever happened, the caller hears
        answer = _problem_answer(error, request_id)
    ours = {"x-request-id": request_id}
    if isinstance(answer, Streamed):
        return StreamingResponse(answer.chunks, headers=ours | _STREAMING, media_type=EVENT_STREAM)
    overhead = perf_counter() - started - upstream.seconds
    headers = {**answer.headers, **ours, "x-overhead-ms": f"{overhead * 1000:.2f}"}
    content = None
    if answer.body is not None:
        text = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":"))
        content = text.encode(errors="replace")  # a model may break a surrogate pair in two
    media_type = "application/json" if answer.status < HTTPStatus.BAD_REQUEST else PROBLEM_JSON
    return Response(content, answer.status, headers, media_type if content else None)


def _problem_answer(error: Exception, request_id: str) -> Answer:
    problem = problem_from(error)
    if problem is INTERNAL_ERROR:
        log.error("Request %s failed", request_id, exc_info=error)
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    return Answer(problem.to_json(request_id), problem.status, headers)
