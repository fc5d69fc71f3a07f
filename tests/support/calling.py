"""A caller of the API, without a host in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.api import jobs, messages, metrics, operations, threads, usage
from shared.app import Services
from shared.http.request_span import name_route
from shared.http.routes import RouteTable
from shared.http.serve import Handler, serve

ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "messages", messages.send),
    ("POST", "threads", threads.create),
    ("GET", "threads", threads.list_),
    ("GET", "threads/{thread_id}", threads.get),
    ("PATCH", "threads/{thread_id}", threads.patch),
    ("DELETE", "threads/{thread_id}", threads.delete),
    ("GET", "threads/{thread_id}/messages", threads.list_messages),
    ("POST", "threads/{thread_id}/messages", threads.send_message),
    ("POST", "jobs", jobs.submit),
    ("GET", "jobs", jobs.list_),
    ("GET", "jobs/{job_id}", jobs.get),
    ("POST", "jobs/{job_id}/cancel", jobs.cancel),
    ("GET", "health", operations.health),
    ("GET", "health/ready", operations.ready),
    ("GET", "metrics", metrics.show),
    ("GET", "usage", usage.show),
    ("GET", "metrics/prometheus", operations.prometheus),
]
ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def caller(services: Services, *more: tuple[str, str, Handler]) -> httpx.AsyncClient:
    """A client of the app's handlers below ``/api``."""

    def endpoint(
        handler: Handler, template: str = "{*path}"
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            name_route(request, f"/api/{template}")
            return await serve(services, request, handler)

        return answer

    table = RouteTable()
    routes: list[Route] = []
    for method, template, handler in [*ROUTES, *more]:
        table.add(method, template)
        routes.append(Route(f"/api/{template}", endpoint(handler, template), methods=[method]))
    unmatched = endpoint(table.unmatched)
    catch_all = Route("/api/{path:path}", unmatched, methods=ALL_METHODS)
    transport = httpx.ASGITransport(Starlette(routes=[*routes, catch_all]))
    return httpx.AsyncClient(transport=transport, base_url="http://app/api/")


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must be well formed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["title"]
    assert document["detail"]
    return document
