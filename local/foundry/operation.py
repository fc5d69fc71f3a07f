"""The steps of every operation around its handler.

In order: log the request, check its headers and credentials, read its JSON, apply a fault, run the
handler, and add headers to the answer.
"""

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from .auth import Gate
from .cut import NoAnswer, cut
from .errors import ApiError, GatewayError, JsonObject, invalid
from .faults import Fault, FaultKind, FaultPlan
from .rate import RateWindow
from .settings import EmulatorSettings
from .store import Store
from .turns import Turns

LOGGED_REQUESTS = 10_000
MAX_CUSTOM_HEADERS = 10
_OFFICIAL_HEADERS = (
    "x-stainless-",
    "x-ms-client-request-id",
    "x-ms-return-client-request-id",
    "x-ms-useragent",
    "x-identity-header",
)
_NGINX_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_WITHOUT_WORK = {FaultKind.STATUS, FaultKind.HTML, FaultKind.DROP}
_REASONS = {
    403: "Forbidden",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Surface(StrEnum):
    """The families of URLs, which differ in credentials and in strictness."""

    PROJECT = "project"
    """`{project}/openai/v1`: tokens only, no api-version."""
    MANAGEMENT = "management"
    """`{project}/agents` and its like: tokens only, `api-version=v1` required."""
    RESOURCE = "resource"
    """`/openai/v1`: keys or tokens, no conversations."""
    IDENTITY = "identity"
    """The managed-identity endpoint."""


@dataclass(slots=True)
class Service:
    """The parts of the emulator that handlers use."""

    settings: EmulatorSettings
    store: Store
    gate: Gate
    turns: Turns
    rate: RateWindow = field(default_factory=RateWindow)
    faults: FaultPlan = field(default_factory=FaultPlan)
    log: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=LOGGED_REQUESTS))


@dataclass(slots=True)
class Call:
    """One request of an operation."""

    request: Request
    service: Service
    surface: Surface
    body: JsonObject
    fault: Fault | None = None

    @property
    def owner(self) -> str:
        """The user that a trusted caller acts for; each user sees only their own data."""
        return self.request.headers.get("x-ms-user-identity", "")

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        """Return a parameter of the query."""
        return self.request.query_params.get(name)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A named operation of one surface."""

    name: str
    handler: Handler
    surface: Surface

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        service: Service = request.app.state.service
        entry = _log_entry(self.name, request)
        service.log.append(entry)
        request_id = str(uuid.uuid4())
        try:
            response = await self._answer(request, service, entry)
        except (ApiError, GatewayError) as error:
            response = error.response(request_id)
        entry["status"] = None if isinstance(response, NoAnswer) else response.status_code
        _add_headers(request, response, request_id)
        return response

    async def _answer(self, request: Request, service: Service, entry: JsonObject) -> Response:
        self._check(request, service)
        entry["body"] = body = await _read_json(request)
        fields = {**body, **request.path_params, "conversation": conversation_of(body, request)}
        entry["conversation"] = fields["conversation"]
        fault = service.faults.take(self.name, fields)
        call = Call(request, service, self.surface, body, fault)
        if fault is None:
            return await self.handler(call)
        entry["fault"] = fault.kind
        return await _strike(call, fault, self.handler)

    def _check(self, request: Request, service: Service) -> None:
        _check_headers(request.headers)
        if self.surface is Surface.RESOURCE:
            service.gate.check_resource(request)
            return
        if self.surface is Surface.IDENTITY:
            service.gate.check_identity_header(request)
            return
        service.gate.check_project(request)
        if request.path_params["project"] not in {service.settings.project, "_project"}:
            message = f"Project '{request.path_params['project']}' not found."
            raise ApiError(404, "NotFound", message)
        if self.surface is Surface.MANAGEMENT and request.query_params.get("api-version") != "v1":
            message = "The api-version query parameter is required; supported: v1."
            raise ApiError(400, "UnsupportedApiVersion", message, "api-version")


def conversation_of(body: JsonObject, request: Request) -> object:
    """Return the conversation a request is about, from its path or its body."""
    named: Any = request.path_params.get("conversation_id") or body.get("conversation")
    return cast("JsonObject", named).get("id") if isinstance(named, dict) else named


async def _strike(call: Call, fault: Fault, handler: Handler) -> Response:
    """Apply a fault around the handler; the handler applies faults inside the answer."""
    if fault.when == "before" and fault.kind is FaultKind.HANG:
        await asyncio.sleep(fault.seconds)
    if fault.kind in _WITHOUT_WORK:
        return await _without_work(call, fault)
    if fault.kind in {FaultKind.WORK_THEN_DROP, FaultKind.WORK_THEN_STATUS}:
        # Run a streamed request to its end, like one that is not streamed.
        call.body = {k: v for k, v in call.body.items() if k not in {"stream", "stream_options"}}
    response = await handler(call)
    match fault.kind:
        case FaultKind.WORK_THEN_DROP:
            return await cut(call.request)
        case FaultKind.WORK_THEN_STATUS:
            return _fault_answer(fault)
        case FaultKind.HANG if fault.when == "after":
            await asyncio.sleep(fault.seconds)
        case _:
            pass
    return response


async def _without_work(call: Call, fault: Fault) -> Response:
    match fault.kind:
        case FaultKind.DROP:
            return await cut(call.request)
        case FaultKind.HTML:
            title = f"{fault.status} {_REASONS.get(fault.status, 'Error')}"
            return HTMLResponse(_NGINX_PAGE.format(title), fault.status, fault.headers)
        case _:
            return _fault_answer(fault)


def _fault_answer(fault: Fault) -> Response:
    if isinstance(fault.body, str):
        return Response(fault.body, fault.status, fault.headers)
    if fault.body is not None:
        return JSONResponse(fault.body, fault.status, fault.headers)
    code = "rate_limit_exceeded" if fault.status == 429 else "server_error"
    response = ApiError(fault.status, code, f"Injected HTTP {fault.status}.").response("injected")
    response.headers.update(fault.headers)
    return response


async def _read_json(request: Request) -> JsonObject:
    raw = await request.body()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        text = "We could not parse the JSON body of your request."
        raise invalid(text, None, "invalid_request_error") from None
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.", None, "invalid_request_error")
    return cast("JsonObject", body)


def _check_headers(headers: Mapping[str, str]) -> None:
    custom = [
        name for name in headers if name.startswith("x-") and not name.startswith(_OFFICIAL_HEADERS)
    ]
    if len(custom) > MAX_CUSTOM_HEADERS:
        raise ApiError(431, "431", f"More than {MAX_CUSTOM_HEADERS} custom headers.")


def _log_entry(name: str, request: Request) -> JsonObject:
    return {
        "time": time.time(),
        "operation": name,
        "method": request.method,
        "path": request.url.path,
        "query": dict(request.query_params),
        "headers": sorted(request.headers.keys()),
        "client_request_id": request.headers.get("x-ms-client-request-id"),
        "conversation": None,
        "body": None,
        "status": None,
        "fault": None,
    }


def _add_headers(request: Request, response: Response, request_id: str) -> None:
    response.headers["x-request-id"] = request_id
    response.headers["apim-request-id"] = request_id
    client_request_id = request.headers.get("x-ms-client-request-id")
    if client_request_id is not None:
        response.headers["x-ms-client-request-id"] = client_request_id
