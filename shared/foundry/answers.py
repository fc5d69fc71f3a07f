"""Reads an HTTP answer: JSON, a stream of events, a refusal, or something unexpected.

A proxy's page, a redirect to a sign-in or an undeclared compression gets an error that names it;
none of its content is repeated.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import httpx

from ..outbound import PROXY_SIGN_IN
from ..text import parse_json
from .error_bodies import Peer, error_from_response
from .errors import FoundryError, ProtocolError, ServiceUnavailableError
from .wire_json import JsonObject

EVENT_STREAM = "text/event-stream"
MAX_WHOLE_BYTES = 16 * 1024 * 1024
"""Of an answer that was to be streamed and comes whole."""

_REQUEST_ID = re.compile(r"[!-~]{1,200}")
"""What may be stored and sent on; the header may contain anything."""

_GZIP_MAGIC = b"\x1f\x8b"
_READABLE_ENCODINGS = {"gzip", "x-gzip", "deflate"}


@dataclass(frozen=True, slots=True)
class Stream:
    """A successful answer whose body is still arriving."""

    chunks: AsyncIterator[bytes]
    request_id: str | None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    whole: JsonObject | None = None
    """The answer, where the service did not stream it but sent it whole."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer."""

    body: JsonObject
    request_id: str | None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer whose status and headers have arrived."""

    response: httpx.Response
    attempt_id: str
    peer: Peer

    @property
    def request_id(self) -> str:
        """The service's id of the call, or else ours."""
        headers = self.response.headers
        named = headers.get("x-request-id") or headers.get("apim-request-id") or ""
        return named if _REQUEST_ID.fullmatch(named) else self.attempt_id

    @property
    def media_type(self) -> str:
        """The content type without parameters; empty if the header is missing."""
        return self.response.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """How the body is compressed; empty where it is not."""
        encoding = self.response.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    def refusal(self, content: bytes) -> FoundryError:
        """The error for a status of 400 or above with this body."""
        if self.response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return ServiceUnavailableError(
                f"{self.peer.name} cannot be reached: {PROXY_SIGN_IN}.", request_id=self.attempt_id
            )
        return error_from_response(
            self.response.status_code,
            self.response.headers,
            content,
            self.request_id,
            self.peer,
        )

    def reply(self, content: bytes) -> Reply:
        """The JSON object in the body of an answer.

        Raises:
            FoundryError: if it is a refusal, or no JSON object.
        """
        if self.response.status_code >= HTTPStatus.BAD_REQUEST:
            raise self.refusal(content)
        self.check_redirect()
        body = self._object(content) if content else {}
        return Reply(body, self.request_id, self.response.headers)

    def check_redirect(self) -> None:
        """Refuse a redirect: none of these services sends one, but sign-in pages do.

        Raises:
            ProtocolError: naming the host that it leads to.
        """
        if not self.response.has_redirect_location:
            return
        host = httpx.URL(self.response.headers["location"]).host or "another page"
        raise self._wrong(f"redirects to {host[:100]}")

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decompressed.

        Raises:
            ProtocolError: if it is compressed in a way that was not requested.
        """
        if not self.encoding:
            return self.response.aiter_raw()
        if self.encoding in _READABLE_ENCODINGS:
            return self.response.aiter_bytes()
        raise self._wrong(f"sent a body compressed as '{_shown(self.encoding)}'")

    async def stream(self, chunks: AsyncIterator[bytes]) -> Stream:
        """The stream of events in the body, or the whole answer where that is what came.

        Raises:
            ProtocolError: if it is neither.
        """
        is_json = self.media_type.endswith(("/json", "+json"))
        if self.media_type not in {"", EVENT_STREAM} and not is_json:
            raise self._wrong(f"sent {_shown(self.media_type)}")
        first = await anext(chunks, b"")
        if first.startswith(_GZIP_MAGIC):
            raise self._wrong("sent a compressed body that it does not declare")
        begin = first.lstrip()[:1] if not self.media_type else b""
        if begin == b"<":
            raise self._wrong("sent a page without a content type")
        whole: JsonObject | None = None
        if is_json or begin == b"{":
            whole = self._object(await self._rest(first, chunks))
        return Stream(_chained(first, chunks), self.request_id, self.response.headers, whole)

    async def _rest(self, first: bytes, chunks: AsyncIterator[bytes]) -> bytes:
        body = bytearray(first)
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_WHOLE_BYTES:
                raise self._wrong(f"sent more than {MAX_WHOLE_BYTES} bytes at once")
        return bytes(body)

    def _object(self, content: bytes) -> JsonObject:
        try:
            body: Any = parse_json(content)
        except ValueError as error:
            kind = _shown(self.media_type) or "content without a type"
            raise self._wrong(f"sent {kind} that is not JSON") from error
        if not isinstance(body, dict):
            raise self._wrong("sent JSON that is not an object")
        return cast("JsonObject", body)

    def _wrong(self, what: str) -> ProtocolError:
        """The error of an unexpected answer; ``what`` says what the peer did instead."""
        return ProtocolError(
            f"{self.peer.name} {what} (status {self.response.status_code}) where an answer was "
            f"expected. Check that {self.peer.endpoint_setting} leads to {self.peer.name} itself "
            "and not to a proxy's or a sign-in page.",
            status_code=self.response.status_code,
            request_id=self.request_id,
            may_have_run=True,
        )


def unreadable(error: httpx.DecodingError, attempt_id: str, peer: Peer) -> ProtocolError:
    """The error of a body that is not compressed as its header says."""
    return ProtocolError(
        f"{peer.name} sent a body that cannot be decompressed. Check the proxies between this app "
        f"and {peer.name}.",
        request_id=attempt_id,
        may_have_run=True,
    )


async def _chained(first: bytes, others: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    if first:
        yield first
    async for chunk in others:
        yield chunk


def _shown(header: str) -> str:
    """A header's value as an error may repeat it."""
    return "".join(filter(str.isprintable, header[:60]))
