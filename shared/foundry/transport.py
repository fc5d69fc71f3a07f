"""One HTTP attempt: send, wait within limits, read, or raise our error.

httpx is the API and the aiohttp transport carries it, because httpx's own pool collapses with
many connections in flight. The transport is called without httpx's client in between: what that
adds (cookies, redirects) must not happen here, and costs a third of a request's time. Only
this module sends requests to Foundry.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus

import httpx
from opentelemetry.trace import Span

from ..identity.credentials import Credential, claims_challenge
from ..identity.errors import IdentityError
from ..observability.tracing import inject
from ..outbound import (
    OutboundSettingsError,
    broken,
    open_http,
    read_body,
    was_never_sent,
    why_unreachable,
)
from ..text import to_json_bytes
from .answers import HttpAnswer, Reply, Stream, unreadable
from .error_bodies import FOUNDRY, Peer
from .errors import (
    AuthenticationError,
    ConfigurationError,
    FoundryError,
    ServiceUnavailableError,
    TimeoutError,
)
from .loop_end import ClosedWithLoop
from .wire_json import JsonObject

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 15.0
"""5 s, the usual default, is reported too short for Foundry under load."""

KEEPALIVE_SECONDS = 30.0
"""How often idle connections are closed; one stays open for at most twice as long."""

_HEADERS = {
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "agent-operating-system-foundry",
}

_parsed = lru_cache(maxsize=256)(httpx.URL)


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: what to send where."""

    method: str
    url: str
    body: JsonObject | None = None
    query: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    span: Span | None = None
    """The parent span, if that is not the current one."""


Send = Callable[[Call], Awaitable[Reply]]
"""Makes a call that may safely be repeated, and repeats it where that helps."""


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
        url: str = "",
        http: httpx.AsyncBaseTransport | None = None,
        peer: Peer = FOUNDRY,
    ) -> None:
        """Open the connection pool.

        Args:
            credential: What authenticates each call.
            pool_size: The most connections at once.
            log_content: Write what is sent and received to the log, too.
            url: Where calls go, which decides whether a proxy carries them.
            http: The HTTP transport, for tests; None opens the app's own.
            peer: The service it talks to, for the texts of errors.

        Raises:
            ConfigurationError: if the proxy or the trusted certificates cannot be used.
        """
        self._credential = credential
        self._log_content = log_content
        self._peer = peer
        limits = httpx.Limits(max_connections=pool_size, keepalive_expiry=KEEPALIVE_SECONDS)
        self._http = http or _open(url, limits)
        self._closing = ClosedWithLoop(self._http.aclose, credential.aclose)

    async def send(self, call: Call, *, seconds: float) -> Reply:
        """Make one attempt that takes at most ``seconds``.

        Raises:
            FoundryError: whose `may_have_run` says whether the call may have taken effect.
        """
        attempt_id = str(uuid.uuid4())
        try:
            async with asyncio.timeout(seconds):
                response, content = await self._request(call, attempt_id)
        except builtins.TimeoutError as error:
            raise _too_late(seconds, attempt_id, self._peer) from error
        except httpx.DecodingError as error:
            raise unreadable(error, attempt_id, self._peer) from error
        except broken() as error:
            raise _unreachable(error, attempt_id, self._peer) from error
        self._log_answer(response, attempt_id, content)
        return HttpAnswer(response, attempt_id, self._peer).reply(content)

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
            answer = HttpAnswer(response, attempt_id, self._peer)
            try:
                if response.status_code >= 400:
                    async with asyncio.timeout_at(ends_at):
                        content = await read_body(response)
                    self._log_answer(response, attempt_id, content)
                    raise answer.refusal(content)
                self._log_answer(response, attempt_id)
                answer.check_redirect()
                async with aclosing(self._chunks(answer, ends_at)) as chunks:
                    yield await answer.stream(chunks)
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
        except httpx.DecodingError as error:
            raise unreadable(error, attempt_id, self._peer) from error
        except broken() as error:
            raise _unreachable(error, attempt_id, self._peer) from error

    async def _chunks(self, answer: HttpAnswer, ends_at: float) -> AsyncGenerator[bytes]:
        """The pieces of a stream; the time limit does not strike what is done with a piece."""
        size, chunks, attempt_id = 0, answer.chunks(), answer.attempt_id
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
        status = response.status_code
        request_id = HttpAnswer(response, attempt_id, self._peer).request_id
        size = "a stream" if content is None else f"{len(content)} bytes"
        log.debug("Attempt %s: status %d, %s, request %s", attempt_id, status, size, request_id)
        if self._log_content and content is not None:
            log.debug("Attempt %s received: %s", attempt_id, content)

    async def _request(self, call: Call, attempt_id: str) -> tuple[httpx.Response, bytes]:
        response = await self._open(call, attempt_id)
        try:
            return response, await read_body(response)
        finally:
            await response.aclose()

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
        """The headers that authenticate a call, with the claims that Foundry asked for.

        Raises:
            FoundryError: if no credential can be obtained.
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
            headers["Accept-Encoding"] = "identity"  # compressed events arrive late
        content = b""
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = to_json_bytes(call.body)
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


def _open(url: str, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    try:
        return open_http(url, limits)
    except OutboundSettingsError as error:
        raise ConfigurationError(str(error)) from error


def _too_late(seconds: float, attempt_id: str, peer: Peer) -> TimeoutError:
    return TimeoutError(
        f"{peer.name} gave no complete answer within {seconds:.3g} s. Raise FOUNDRY_TIMEOUT for "
        "long answers, or submit the message as a job.",
        request_id=attempt_id,
        may_have_run=True,
    )


def _unreachable(error: Exception, attempt_id: str, peer: Peer) -> ServiceUnavailableError:
    """The error of a broken connection; the cause shows whether the request was sent before.

    The aiohttp transport reports a cut connection as `httpx.ConnectTimeout`, so the class of the
    error itself proves nothing.
    """
    cause = error.__cause__
    if was_never_sent(cause) or (cause is None and isinstance(error, httpx.ConnectError)):
        reason = why_unreachable(error)
        return ServiceUnavailableError(
            f"{peer.name} cannot be reached{f': {reason}' if reason else ''}. Check "
            f"{peer.endpoint_setting}, DNS and the network rules between this app and "
            f"{peer.name}.",
            request_id=attempt_id,
        )
    return ServiceUnavailableError(
        f"The connection to {peer.name} broke before the answer was complete; try again.",
        request_id=attempt_id,
        may_have_run=True,
    )
