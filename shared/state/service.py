"""Requests to one service of a storage account, over the product's own HTTP transport.

Single rows, transactions and new queue messages are sent this way, at a fraction of the cost of a
request through the Azure libraries. Those do the rest: they create tables and queues, and query.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from html import unescape
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from azure.core.exceptions import AzureError

from ..outbound import OutboundSettingsError, broken, open_http, read_body, why_unreachable
from ..text import parse_json
from .errors import StorageUnavailableError
from .refusals import explain, refusal
from .signing import Authorization, StorageRequest

VERSION = "2019-02-02"
"""Version of the services' API, as azure-data-tables sends it."""

CONNECT_SECONDS = 5.0
KEEPALIVE_SECONDS = 30.0
"""How often idle connections are closed; one stays open for at most twice as long."""

MAX_CONNECTIONS = 200

SERVER_BUSY = "ServerBusy"
"""The code of a request above the rate of the account or a partition, which had no effect.
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes"""

FIRST_BACKOFF_SECONDS = 0.1

_HEADERS = {
    "x-ms-version": VERSION,
    "Accept-Encoding": "identity",
    "User-Agent": "agent-operating-system-foundry",
}
_TIMEOUTS = {"timeout": {"connect": CONNECT_SECONDS}}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

_XML_FIELD = re.compile(rb"<(?:\w+:)?(code|message)\b[^>]*>([^<]*)<", re.IGNORECASE)

_parsed = lru_cache(maxsize=256)(httpx.URL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and what authorizes requests to it."""

    url: str
    authorization: Authorization


@dataclass(frozen=True, slots=True)
class Service:
    """A storage service, as its errors name it."""

    name: str
    role: str
    """The role that the app's identity needs there."""
    seconds: float
    """How long one request may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request, or to one part of a transaction."""

    status: int
    etag: str
    body: bytes
    code: str = ""
    """The service's code of an error."""
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether the request was refused."""
        return self.status >= HTTPStatus.MULTIPLE_CHOICES

    @classmethod
    def of(cls, status: int, etag: str, body: bytes, code: str = "") -> Self:
        """Read what an error says, from its body in JSON or XML, or else from the header."""
        answer = cls(status, etag, body, code)
        return replace(answer, **_said(body)) if answer.failed and body else answer


def _said(body: bytes) -> dict[str, str]:
    """The code and the reason in the body of an error.

    https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2
    """
    try:
        error = parse_json(body[body.index(b"{") : body.rindex(b"}") + 1])["odata.error"]
        return {"code": str(error["code"]), "reason": str(error["message"]["value"])}
    except (ValueError, LookupError, TypeError):
        fields: dict[str, str] = {}
        for name, text in _XML_FIELD.findall(body):
            key = "code" if name.lower() == b"code" else "reason"
            fields[key] = unescape(text.decode(errors="replace"))
        return fields


class StorageService:
    """Sends requests to one service; its users share the connections."""

    def __init__(
        self,
        service: Service,
        endpoint: Endpoint,
        observe: Callable[[str | None], None] | None = None,
        *,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is opened before the first request.

        Args:
            service: The service.
            endpoint: Where it is.
            observe: Receives the `Date` header of each answer.
            http: The HTTP transport, for tests; None opens the app's own.
        """
        self._service = service
        self._authorization = endpoint.authorization
        self._observe = observe
        self._http = http
        self._users = 0
        self.url = endpoint.url.rstrip("/")
        self._base_path = httpx.URL(self.url).raw_path.decode().rstrip("/")

    def join(self) -> Self:
        """Count another user; the last one that closes the service closes its connections."""
        self._users += 1
        return self

    async def aclose(self) -> None:
        """Close all connections, if no other user is left."""
        self._users -= 1
        if self._users <= 0 and self._http is not None:
            await self._http.aclose()

    async def send(self, request: StorageRequest, *, attempts: int = 1) -> Answer:
        """Send a request; with more ``attempts``, again where the service was unavailable.

        Answers that depend on the row or message are returned, whatever their status.

        Raises:
            StorageUnavailableError: if the service cannot be reached, refuses us, or is overloaded.
        """
        backoff = FIRST_BACKOFF_SECONDS
        for attempt in range(1, attempts + 1):
            is_last = attempt == attempts
            try:
                answer = await self._attempt(request)
            except StorageUnavailableError as error:
                if is_last or isinstance(error.__cause__, AzureError):
                    raise
            else:
                if is_last or not _is_passing(answer):
                    return self.check(answer)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            backoff *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def check(self, answer: Answer) -> Answer:
        """Return an answer, or a part of one.

        Raises:
            StorageUnavailableError: if it is a refusal of the app, or of any request.
        """
        if answer.failed and (error := self.failure(answer)):
            raise error
        return answer

    def failure(self, answer: Answer) -> StorageUnavailableError | None:
        """The error for an answer that refuses the app, or any request; None for other answers."""
        service = self._service
        if refused := explain(answer.status, answer.code, service.name, service.role):
            return StorageUnavailableError(refused)
        if not _is_passing(answer):
            return None
        error = self.unavailable()
        error.is_refusal = answer.code == SERVER_BUSY
        return error

    def unavailable(self, why: str = "") -> StorageUnavailableError:
        """The error of a service that gives no answer."""
        service = self._service
        trouble = f"cannot be reached: {why}" if why else "cannot be reached or is overloaded"
        return StorageUnavailableError(
            f"{service.name} {trouble}. Check AzureWebJobsStorage and the network rules of the "
            f"storage account, and that the app's identity has the role '{service.role}'."
        )

    async def _attempt(self, request: StorageRequest) -> Answer:
        try:
            async with asyncio.timeout(self._service.seconds):
                return await self._exchange(await self._signed(request))
        except TimeoutError as error:
            raise self.unavailable(f"no answer in {self._service.seconds:g} s") from error
        except OutboundSettingsError as error:
            raise self.unavailable(str(error).rstrip(".")) from error
        except broken() as error:
            raise self.unavailable(why_unreachable(error)) from error
        except AzureError as error:  # there is no token
            refused = refusal(error, self._service.name, self._service.role)
            raise StorageUnavailableError(refused or str(self.unavailable())) from error

    async def _signed(self, request: StorageRequest) -> httpx.Request:
        headers = {**request.headers, **_HEADERS, "x-ms-date": formatdate(usegmt=True)}
        path = self._base_path + request.path
        headers |= await self._authorization.headers(replace(request, headers=headers), path)
        query = "&".join(filter(None, (urlencode(request.query), self._authorization.query)))
        url = f"{self.url}{request.path}?{query}" if query else self.url + request.path
        sent = httpx.Request(
            request.method,
            _parsed(url),
            headers=headers,
            stream=httpx.ByteStream(request.body),  # the transport adds the length and the host
            extensions=_TIMEOUTS,
        )
        sent.read()
        return sent

    async def _exchange(self, request: httpx.Request) -> Answer:
        if self._http is None:
            limits = httpx.Limits(
                max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE_SECONDS
            )
            self._http = open_http(self.url, limits)
        response = await self._http.handle_async_request(request)
        try:
            is_empty = response.status_code == HTTPStatus.NO_CONTENT
            body = b"" if is_empty else await read_body(response)
        finally:
            await response.aclose()
        if self._observe is not None:
            self._observe(response.headers.get("Date"))
        return _answer(response, body)


def _answer(response: httpx.Response, body: bytes) -> Answer:
    headers: Any = response.headers
    answer = Answer(response.status_code, headers.get("ETag", ""), body)
    if not answer.failed:
        return answer
    return Answer.of(answer.status, answer.etag, body, headers.get("x-ms-error-code", ""))


def _is_passing(answer: Answer) -> bool:
    """Whether the same request may succeed soon."""
    is_outage = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return answer.status in _PASSING or (
        is_outage and answer.status != HTTPStatus.INSUFFICIENT_STORAGE
    )
