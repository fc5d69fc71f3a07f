"""The HTTP side of the host: keys, routes, and the request that a function sees.

As in the Python worker, one FastAPI catch-all calls the function and sends its result, so a
response class, a stream, a dict or a pydantic model gives the same answer here.
"""

import hmac
import logging
import os
import time
import uuid
from collections.abc import Iterable

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local.host.forwarding import SILENCE_SECONDS, Forwarder
from local.host.functions import Function
from local.host.invocation import Cause, InvocationFailedError, Invoker
from local.host.routing import ALL_METHODS, Match, RouteTable
from local.host.settings import LocalSettings
from local.host.timers import TimerListener

logger = logging.getLogger("local.host")

_MATCH = "local.host.match"
_ADMIN_FUNCTIONS = "/admin/functions/"


class KeyCheck:
    """Access keys of functions, required only if local.settings.json has one."""

    def __init__(self, settings: LocalSettings) -> None:
        self._function_key = settings.function_key
        self._master_key = settings.master_key

    def allows(self, function: Function, given: str | None) -> bool:
        """Whether a request with the key `given` may call `function`."""
        return self.admits(str(function.trigger.get("authLevel") or "function").lower(), given)

    def admits(self, level: str, given: str | None) -> bool:
        """Whether the key `given` is sufficient for an authorization level."""
        if level == "anonymous" or (self._function_key is None and self._master_key is None):
            return True
        accepted = [self._master_key]
        if level == "function":
            accepted.append(self._function_key)
        return any(
            hmac.compare_digest(key.encode(), (given or "").encode()) for key in accepted if key
        )


class HttpHost:
    """ASGI application: the host's own pages, then the function that the route table names."""

    def __init__(
        self,
        routes: RouteTable,
        keys: KeyCheck,
        invoker: Invoker,
        timers: Iterable[TimerListener] = (),
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._routes = routes
        self._timers = {timer.function.name.lower(): timer for timer in timers}
        self._keys = keys
        self._invoker = invoker
        self._started = time.monotonic()
        self._functions = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self._functions.add_api_route(
            "/{path:path}", self._call, methods=sorted(ALL_METHODS), response_model=None
        )
        self._forwarder = Forwarder(self._functions, silence_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return  # the real host passes on neither lifespan events nor websockets
        if "%00" in scope["raw_path"].decode("ascii"):
            await Response(status_code=400)(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].startswith(_ADMIN_FUNCTIONS):
            answer = await self._run_timer(Request(scope))
            await answer(scope, receive, send)
        elif (match := self._routes.match(scope["method"], scope["raw_path"].decode())) is None:
            await self._own_page(scope)(scope, receive, send)
        elif not self._keys.allows(match.function, _given_key(Request(scope))):
            await Response(status_code=401)(scope, receive, send)
        else:
            scope[_MATCH] = match
            await self._forwarder.forward(scope, str(uuid.uuid4()), receive, send)

    async def _call(self, request: Request) -> object:
        match: Match = request.scope[_MATCH]
        # The extension's synchronizer also refills the dict in place.
        request.path_params.clear()
        request.path_params.update(match.path_params)
        cause = Cause(
            reason=f"{request.method} {request.url.path}",
            invocation_id=request.headers["x-ms-invocation-id"],
            trace_parent=request.headers.get("traceparent", ""),
            trace_state=request.headers.get("tracestate", ""),
        )
        try:
            return await self._invoker.invoke(match.function, request, cause)
        except InvocationFailedError as failure:
            if isinstance(failure.__cause__, HTTPException):
                raise failure.__cause__ from None
            return PlainTextResponse("Internal Server Error", status_code=500)

    async def _run_timer(self, request: Request) -> Response:
        """`POST /admin/functions/{name}`: run a timer's function and answer when it has finished.

        https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
        """
        if not self._keys.admits("admin", _given_key(request)):
            return Response(status_code=401)
        timer = self._timers.get(request.url.path.removeprefix(_ADMIN_FUNCTIONS).lower())
        if timer is None:
            return Response(status_code=404)
        await timer.fire()
        return Response(status_code=202)

    def _own_page(self, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            return Response(status_code=404)
        if scope["path"] == "/":
            if os.environ.get("AzureWebJobsDisableHomepage", "").lower() == "true":  # noqa: SIM112
                return Response(status_code=204)
            return PlainTextResponse("Your function app is up and running.\n")
        if scope["path"] == "/admin/host/status":
            uptime_ms = int((time.monotonic() - self._started) * 1000)
            return JSONResponse(
                {"id": f"local-{os.getpid()}", "state": "Running", "processUptime": uptime_ms}
            )
        return Response(status_code=404)


def with_cors(app: ASGIApp, settings: LocalSettings) -> ASGIApp:
    """Answer cross-origin requests as `Host.CORS` says; without it send no CORS headers."""
    if not settings.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_credentials=settings.cors_credentials,
        allow_methods=("*",),
        allow_headers=("*",),
    )


def _given_key(request: Request) -> str | None:
    return request.headers.get("x-functions-key") or request.query_params.get("code")
