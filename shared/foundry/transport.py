"""One HTTP attempt: send, wait within limits, read, or raise our error.

httpx is the API and the aiohttp transport carries it, because httpx's own pool collapses with
many connections in flight. The transport is called without httpx's client in between: what that
adds (cookies, redirects) must not happen here, and costs a third of a request's time. No other
module of the package knows about HTTP libraries.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from opentelemetry.trace import Span

from ..identity.credentials import Credential, claims_challenge
from ..identity.errors import IdentityError
from ..telemetry.tracing import inject
from .error_bodies import error_from_response
from .errors import (
    AuthenticationError,
    FoundryError,
    ProtocolError,
    ServiceUnavailableError,
    TimeoutError,
)
from .loop_end import ClosedWithLoop
from .peer import FOUNDRY, Peer
from .wire_json import JsonObject, parse_json

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 15.0
"""5 s, the usual default, is reported too short for Foundry under load."""

KEEPALIVE_SECONDS = 60.0

_BROKEN = (httpx.RequestError, aiohttp.ClientError)
"""Whatever can go wrong in an exchange; some errors of aiohttp come through untranslated."""

_HEADERS = {
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "agent-operating-system-foundry",
}

_parsed = lru_cache(maxsize=256)(httpx.URL)

_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: what to send where."""

    method: str
    url: str
    body: JsonObject | None = None
    query: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    span: Span | None = None
    """What the call is part of, where that is not what is current."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A successful answer whose body is still arriving."""

    chunks: AsyncIterator[bytes]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer."""

    body: JsonObject
    request_id: str | None


class Transport:
    """Sends calls with a credential over pooled connections.

    Create it on the event loop that will use it, and close it there.
    """

    def __init__(
        self,
        credential: Credential,
        *,
        pool_size: int,
        log_content: bool = False,
        http: httpx.AsyncBaseTransport | None = None,
        peer: Peer = FOUNDRY,
    ) -> None:
        self._credential = credential
        self._log_content = log_content
        self._peer = peer
        limits = httpx.Limits(max_connections=pool_size, keepalive_expiry=KEEPALIVE_SECONDS)
        self._http = http or AiohttpTransport(limits=limits)
        self._closing = ClosedWithLoop(self._http.aclose, credential.aclose)

    async def send(self, call: Call, *, seconds: float) -> Reply:
        """Make one attempt that takes at most ``seconds``.

        Raises:
            FoundryError: whose `may_have_run` says whether the call may have taken effect.
        """
        attempt_id = str(uuid.uuid4())
        try:
            async with asyncio.timeout(seconds):
                response = await self._request(call, attempt_id)
        except builtins.TimeoutError as error:
            raise _too_late(seconds, attempt_id, self._peer) from error
        except _BROKEN as error:
            raise _unreachable(error, attempt_id, self._peer) from error
        self._log_answer(response, attempt_id, response.content)
        return _reply(response, attempt_id, self._peer)

    @asynccontextmanager
    async def stream(self, call: Call, *, silence: float, seconds: float) -> AsyncGenerator[Stream]:
        """Make one attempt and read its answer as it arrives; leaving the block closes it at once.

        Args:
            call: What to send.
            silence: The most seconds between two pieces of the answer, and before the first.
            seconds: How long the whole answer may take.

        Raises:
            FoundryError: here, or inside the block where the stream breaks.
        """
        attempt_id = str(uuid.uuid4())
        ends_at = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self._open(call, attempt_id, silence)
            try:
                if response.status_code >= 400:
                    async with asyncio.timeout_at(ends_at):
                        await response.aread()
                    self._log_answer(response, attempt_id, response.content)
                    raise _refusal(response, attempt_id, self._peer)
                self._log_answer(response, attempt_id)
                async with aclosing(self._chunks(response, attempt_id, ends_at)) as chunks:
                    yield Stream(chunks, _request_id(response, attempt_id))
            finally:
                await response.aclose()
        except FoundryError:  # ours may be a builtin TimeoutError, too
            raise
        except builtins.TimeoutError as error:
            raise _too_late(seconds, attempt_id, self._peer) from error
        except httpx.ReadTimeout as error:
            raise TimeoutError(
                f"{self._peer.name} sent nothing for {silence:g} s. Raise FOUNDRY_TIMEOUT for slow "
                "models.",
                request_id=attempt_id,
                may_have_run=True,
            ) from error
        except _BROKEN as error:
            raise _unreachable(error, attempt_id, self._peer) from error

    async def _chunks(
        self, response: httpx.Response, attempt_id: str, ends_at: float
    ) -> AsyncGenerator[bytes]:
        size, chunks = 0, response.aiter_raw()
        try:
            while True:
                async with asyncio.timeout_at(ends_at):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                size += len(chunk)
                if self._log_content:
                    log.debug("Attempt %s received: %s", attempt_id, chunk)
                yield chunk
        finally:
            log.debug("Attempt %s: the stream ended after %d bytes", attempt_id, size)

    def _log_answer(
        self, response: httpx.Response, attempt_id: str, content: bytes | None = None
    ) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        status, request_id = response.status_code, _request_id(response, attempt_id)
        size = "a stream" if content is None else f"{len(content)} bytes"
        log.debug("Attempt %s: status %d, %s, request %s", attempt_id, status, size, request_id)
        if self._log_content and content is not None:
            log.debug("Attempt %s received: %s", attempt_id, content)

    async def _request(self, call: Call, attempt_id: str) -> httpx.Response:
        response = await self._open(call, attempt_id)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def _open(
        self, call: Call, attempt_id: str, silence: float | None = None
    ) -> httpx.Response:
        """Send a call, and once more if its token lacks claims that Foundry asks for.

        The body of the answer is still to be read.
        """
        claims = None
        while True:
            request = await self._prepare(call, attempt_id, claims, silence)
            response = await self._http.handle_async_request(request)
            if claims is not None or response.status_code != HTTPStatus.UNAUTHORIZED:
                return response  # only what was refused unread may be sent again
            claims = claims_challenge(response.headers.get("www-authenticate", ""))
            if claims is None:
                return response
            await response.aclose()

    async def authenticate(self, claims: str | None = None) -> dict[str, str]:
        """The headers that show who we are, with the claims that Foundry asked for.

        Raises:
            FoundryError: if there is no credential to be had.
        """
        await self._closing.begin()
        try:
            return await self._credential.headers(claims)
        except IdentityError as error:
            kind = ServiceUnavailableError if error.transient else AuthenticationError
            raise kind(error.message) from error

    async def _prepare(
        self, call: Call, attempt_id: str, claims: str | None, silence: float | None
    ) -> httpx.Request:
        headers = await self.authenticate(claims) | _HEADERS
        headers["x-ms-client-request-id"] = attempt_id
        inject(headers, call.span)
        if silence is not None:
            headers["Accept-Encoding"] = "identity"  # an event shall not wait for a block
        content = b""
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()
        log.debug("Attempt %s: %s %s, %d bytes", attempt_id, call.method, call.url, len(content))
        if self._log_content:
            log.debug("Attempt %s sends: %s", attempt_id, content)
        return httpx.Request(
            call.method,
            _parsed(call.url),
            params=call.query or None,
            headers=headers,
            content=content or None,
            extensions={"timeout": {"connect": CONNECT_TIMEOUT_SECONDS, "read": silence}},
        )

    async def aclose(self) -> None:
        """Close all connections and the credential."""
        await self._closing.aclose()


def _too_late(seconds: float, attempt_id: str, peer: Peer) -> TimeoutError:
    return TimeoutError(
        f"{peer.name} gave no complete answer within {seconds:.3g} s. Raise FOUNDRY_TIMEOUT for "
        "long answers, or submit the message as a job.",
        request_id=attempt_id,
        may_have_run=True,
    )


def _request_id(response: httpx.Response, attempt_id: str) -> str:
    headers = response.headers
    return headers.get("x-request-id") or headers.get("apim-request-id") or attempt_id


def _refusal(response: httpx.Response, attempt_id: str, peer: Peer) -> FoundryError:
    return error_from_response(
        response.status_code,
        response.headers,
        response.content,
        _request_id(response, attempt_id),
        peer,
    )


def _reply(response: httpx.Response, attempt_id: str, peer: Peer) -> Reply:
    request_id = _request_id(response, attempt_id)
    if response.status_code >= 400:
        raise _refusal(response, attempt_id, peer)
    if not response.content:
        return Reply({}, request_id)
    try:
        body: Any = parse_json(response.content)
    except ValueError as error:
        raise ProtocolError(
            f"{peer.name}'s answer is not JSON. Check that {peer.endpoint_setting} leads to "
            f"{peer.name} and not to a proxy's page.",
            status_code=response.status_code,
            request_id=request_id,
            may_have_run=True,
        ) from error
    if not isinstance(body, dict):
        raise ProtocolError(
            f"{peer.name}'s answer is not a JSON object.",
            request_id=request_id,
            may_have_run=True,
        )
    return Reply(cast("JsonObject", body), request_id)


def _unreachable(error: Exception, attempt_id: str, peer: Peer) -> ServiceUnavailableError:
    """A broken exchange; the cause tells whether the request had left before it broke.

    The aiohttp transport reports a cut connection as `httpx.ConnectTimeout`, so the class of the
    error itself proves nothing.
    """
    cause = error.__cause__
    if isinstance(cause, _NEVER_SENT) or (cause is None and isinstance(error, httpx.ConnectError)):
        return ServiceUnavailableError(
            f"{peer.name} cannot be reached. Check {peer.endpoint_setting}, DNS and the "
            f"network rules between this app and {peer.name}.",
            request_id=attempt_id,
        )
    return ServiceUnavailableError(
        f"The connection to {peer.name} broke before the answer was complete; try again.",
        request_id=attempt_id,
        may_have_run=True,
    )
