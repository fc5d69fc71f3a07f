"""Microsoft Entra's token endpoint and a managed identity, on loopback.

The token endpoint speaks https, because azure-identity and our own code insist on it; the managed
identity speaks http, as App Service's does. Both are strict: a form that Entra would refuse is
refused, and a leg that does not show the token of the leg before it too.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from local.processes import free_port

from .authority import Certificate
from .waiting import eventually

TENANT = "11111111-1111-4111-8111-111111111111"
BLUEPRINT = "22222222-2222-4222-8222-222222222222"
AGENT = "33333333-3333-4333-8333-333333333333"
MANAGED_IDENTITY = "44444444-4444-4444-8444-444444444444"
IDENTITY_HEADER = "managed-identity-header"
EXCHANGE = "api://AzureADTokenExchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CORRELATION_ID = "99999999-9999-4999-8999-999999999999"

MANAGED, LEG_1, LEG_2 = "managed identity", "leg 1", "leg 2"


@dataclass(frozen=True)
class Answer:
    """What the next request of a leg is answered with, in place of a token."""

    status: int
    body: Any


def refusal(aadsts: int, *, status: int = 401, error: str = "invalid_client") -> Answer:
    """A refusal in the shape of Entra's."""
    return Answer(
        status,
        {
            "error": error,
            "error_description": f"AADSTS{aadsts}: It does not work. Trace ID: t Correlation ID: c",
            "error_codes": [aadsts],
            "trace_id": "t",
            "correlation_id": CORRELATION_ID,
        },
    )


@dataclass
class Lifetimes:
    """Seconds that tokens are said to last, and after which they should be renewed."""

    managed: int = 86_400
    t1: int = 3_900
    token: int = 3_600
    refresh_in: int | None = None


class FakeEntra:
    """One tenant with one blueprint and its agent identity."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self._port, self._plain_port = free_port(), free_port()
        self.reset(time.time)

    def reset(self, now: Callable[[], float]) -> None:
        """Forget all that happened; ``now`` is the time from here on."""
        self.lifetimes = Lifetimes()
        self.bodies: dict[str, list[bytes]] = defaultdict(list)
        """Raw bodies of the requests of each leg; the query for the managed identity."""
        self.headers: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        """What the next requests of a leg are answered with; without one, with a token."""
        self.gate = asyncio.Event()
        """Cleared, it holds back every answer."""
        self.gate.set()
        self.prefix = ""
        """How issued tokens begin."""
        self.secret: str | None = None
        """A secret of the blueprint, for when it has no managed identity."""
        self._now = now
        self._numbers = count(1)
        self._issued: dict[str, list[str]] = defaultdict(list)

    @property
    def authority(self) -> str:
        """What AZURE_AUTHORITY_HOST takes."""
        return f"https://localhost:{self._port}"

    @property
    def identity_endpoint(self) -> str:
        """What IDENTITY_ENDPOINT takes."""
        return f"http://127.0.0.1:{self._plain_port}/msi/token"

    @property
    def issued(self) -> list[str]:
        """All tokens given out."""
        return [token for tokens in self._issued.values() for token in tokens]

    def requests(self, leg: str) -> int:
        """How many requests a leg has seen."""
        return len(self.bodies[leg])

    def form(self, leg: str, number: int = -1) -> dict[str, str]:
        """The form of one request of a leg."""
        return dict(parse_qsl(self.bodies[leg][number].decode(), strict_parsing=True))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["FakeEntra"]:
        """Serve."""
        routes = [
            Route("/msi/token", self._managed_identity),
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
        ]
        app = Starlette(routes=routes)
        secure = uvicorn.Config(
            app,
            port=self._port,
            log_config=None,
            ssl_certfile=self.certificate.path,
            ssl_keyfile=self.certificate.key_path,
        )
        plain = uvicorn.Config(app, port=self._plain_port, log_config=None)
        servers = [uvicorn.Server(secure), uvicorn.Server(plain)]
        serving = [asyncio.create_task(server.serve()) for server in servers]
        await eventually(lambda: all(server.started for server in servers))
        try:
            yield self
        finally:
            self.gate.set()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*serving)

    async def _managed_identity(self, request: Request) -> JSONResponse:
        self.bodies[MANAGED].append(request.url.query.encode())
        await self.gate.wait()
        if self.answers[MANAGED]:
            return self._scripted(MANAGED)
        if request.headers.get("x-identity-header") != IDENTITY_HEADER:
            return JSONResponse({"statusCode": 401, "message": "wrong header"}, 401)
        resource = request.query_params["resource"]
        return JSONResponse(
            {
                "access_token": self._issue(MANAGED),
                "expires_on": str(int(self._now()) + self.lifetimes.managed),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": request.query_params.get("client_id", ""),
            }
        )

    async def _token(self, request: Request) -> JSONResponse:
        body = await request.body()
        form = dict(parse_qsl(body.decode(), strict_parsing=True, keep_blank_values=True))
        leg = LEG_1 if form.get("client_id") == BLUEPRINT else LEG_2
        self.bodies[leg].append(body)
        self.headers[leg].append(dict(request.headers))
        await self.gate.wait()
        if self.answers[leg]:
            return self._scripted(leg)
        if wrong := self._objection(leg, request.path_params["tenant"], form):
            return JSONResponse(refusal(wrong).body, 401)
        lifetime = self.lifetimes.t1 if leg == LEG_1 else self.lifetimes.token
        answer = {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime}
        if self.lifetimes.refresh_in:
            answer["refresh_in"] = self.lifetimes.refresh_in
        return JSONResponse({**answer, "access_token": self._issue(leg)})

    def _objection(self, leg: str, tenant: str, form: dict[str, str]) -> int | None:
        """The AADSTS code that Entra would refuse a form with."""
        if tenant != TENANT:
            return 700211
        if "client_secret" in form and "client_assertion" in form:
            return 9002324
        if not ("client_secret" in form or "client_assertion" in form):
            return 7000216
        if not form.get("scope", "").endswith("/.default"):
            return 1002012
        if leg == LEG_1:
            return self._objection_to_blueprint(form)
        if form["client_id"] != AGENT:
            return 700016
        if "fmi_path" in form or form.get("client_assertion") not in self._issued[LEG_1]:
            return 700213
        return None

    def _objection_to_blueprint(self, form: dict[str, str]) -> int | None:
        if form["scope"] != f"{EXCHANGE}/.default" or form.get("fmi_path") != AGENT:
            return 82001
        if "client_secret" in form:
            return None if form["client_secret"] == self.secret else 7000215
        if form["client_assertion"] in self._issued[MANAGED] or _looks_signed(form):
            return None
        return 700213

    def _issue(self, leg: str) -> str:
        token = f"{self.prefix}{leg.replace(' ', '-')}-token-{next(self._numbers)}"
        self._issued[leg].append(token)
        return token

    def _scripted(self, leg: str) -> JSONResponse:
        answer = self.answers[leg].pop(0)
        return JSONResponse(answer.body, answer.status)


def _looks_signed(form: dict[str, str]) -> bool:
    return form["client_assertion"].count(".") == 2


@dataclass
class FakeTime:
    """Seconds since 1970, from now on, that pass only when told to."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
