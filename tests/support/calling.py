"""A caller of the API, without a host in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Endpoint

from shared.app import Services
from shared.http.serve import serve_open
from shared.routes import BASE, ROUTES, Route, Unmatched

ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def caller(services: Services, *more: Route) -> httpx.AsyncClient:
    """A client of the app's routes, and of ``more``, below ``/api``."""
    routes = [*ROUTES, *more]

    def endpoint(route: Route) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await route.answer(services.web.edge, services.web.api, request)

        return answer

    async def answer_unmatched(request: Request) -> Response:
        return await serve_open(request, unmatched.answer, query=None)

    unmatched = Unmatched((route.method, route.template) for route in routes)
    endpoints = [
        Endpoint(f"/{route.template}", endpoint(route), methods=[route.method]) for route in routes
    ]
    catch_all = Endpoint(f"/{BASE}{{path:path}}", answer_unmatched, methods=ALL_METHODS)
    transport = httpx.ASGITransport(Starlette(routes=[*endpoints, catch_all]))
    return httpx.AsyncClient(transport=transport, base_url=f"http://app/{BASE}")


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
