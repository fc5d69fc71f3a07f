"""A request as handlers see it: the caller, and the validated query and body."""

from __future__ import annotations

import asyncio
import hashlib
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import Headers
from starlette.requests import Request
from ulid import ULID

from ..audit.trail import Caller
from ..metering.owner_limits import LimitError, OwnerLimit
from ..problems import Problem, ProblemError, ProblemKind
from ..turns.body import Body
from .field_errors import field_errors
from .principal import Principal
from .query import Query

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Room for an escaped message of 1,048,576 characters and the other fields."""

BODY_SECONDS = 15.0
"""The time limit for receiving a body: a slow one occupies memory and a request slot."""

_GZIP = b"\x1f\x8b"
_UTF_16 = (BOM_UTF16_LE, BOM_UTF16_BE)
_CHARSET = "charset="
_UTF_8 = {"utf-8", "utf8", "us-ascii"}

_SANE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_Body = TypeVar("_Body", bound=Body)
_Query = TypeVar("_Query", bound=Query)


@dataclass(slots=True)
class Incoming:
    """One HTTP request. Its principal and its parameters are set as they are checked."""

    request: Request
    principal: Principal
    request_id: str
    parameters: Query | None = None
    """The validated query."""
    face: str = "api"
    """The name of the face that was called."""
    body_digest: str = ""
    """The SHA-256 of the body as it was sent, once it is read."""

    @property
    def owner(self) -> str:
        """Whose data the request is about."""
        return self.principal.owner

    @property
    def caller(self) -> Caller:
        """The caller, for audit records."""
        return self.principal.caller(self.request_id, self.face)

    @property
    def path(self) -> Mapping[str, str]:
        """Parameters of the route."""
        return self.request.path_params

    def parameters_as(self, model: type[_Query]) -> _Query:
        """The validated query, as the ``model`` that the route declares."""
        if not isinstance(self.parameters, model):
            raise TypeError(f"the route does not declare the query {model.__name__}")
        return self.parameters

    async def body(self, model: type[_Body]) -> _Body:
        """The validated JSON body; a missing body counts as an empty object.

        Raises:
            ProblemError: 400, 413, 415 or 422, saying which field and why.
        """
        return read_body(model, await self.content() or b"{}")

    async def content(self) -> bytes:
        """The body, which is JSON in UTF-8 by its headers and its first bytes, or empty.

        Raises:
            ProblemError: 413 or 415.
            LimitError: if it does not arrive in time.
        """
        content = await self._received()
        self.body_digest = hashlib.sha256(content).hexdigest()
        if content and (reason := _unsupported(self.request.headers, content)):
            raise ProblemError(Problem(ProblemKind.UNSUPPORTED_MEDIA_TYPE, reason))
        return content

    async def _received(self) -> bytes:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._read()
        except TimeoutError:
            raise LimitError(
                OwnerLimit.BODY_SECONDS, f"The body did not arrive within {BODY_SECONDS:g} s."
            ) from None

    async def _read(self) -> bytes:
        content = bytearray()
        async for chunk in self.request.stream():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                raise ProblemError(
                    Problem(
                        ProblemKind.TOO_LARGE,
                        f"The body is larger than {MAX_BODY_BYTES} bytes, in which images count "
                        "a third more than their files do; give large ones as https URLs.",
                    )
                )
        return bytes(content)


def read_body(model: type[_Body], content: bytes) -> _Body:
    """The validated body.

    Raises:
        ProblemError: 400, 413 or 422, saying which field and why.
    """
    try:
        return model.read(content)
    except ValidationError as error:
        raise ProblemError(_invalid_body(error.errors(include_url=False))) from error


def _unsupported(headers: Headers, content: bytes) -> str | None:
    """Why a body is not JSON in UTF-8, by its headers or its first bytes; None if it may be."""
    kind, *parameters = headers.get("content-type", "").lower().split(";")
    if kind.strip() != "application/json" and not kind.strip().endswith("+json"):
        return "Send the body as JSON, with the header Content-Type: application/json."
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"} or content.startswith(_GZIP):
        return "Send the body as it is, not compressed."
    named = [text.split("=", 1)[1].strip(' "') for text in parameters if _CHARSET in text]
    if set(named) - _UTF_8 or content.startswith(_UTF_16) or b"\0" in content[:2]:
        return "Send the body in UTF-8."
    return None


def request_id_of(request: Request) -> str:
    """The caller's request id if it is valid, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _SANE_REQUEST_ID.fullmatch(given) else f"req_{ULID()}"


def _invalid_body(details: list[ErrorDetails]) -> Problem:
    first = details[0]
    if first["type"] == "json_invalid":
        return Problem(ProblemKind.INVALID_JSON, f"The body is not JSON: {first['msg']}.")
    errors = field_errors(details)
    if any(_is_oversized_message(detail) for detail in details):
        return Problem(
            ProblemKind.TOO_LARGE,
            "The message is too long.",
            None,
            errors,
        )
    listed = "; ".join(f"{error.field}: {error.reason}" for error in errors)
    return Problem(ProblemKind.INVALID_REQUEST, f"{listed}.", None, errors)


def _is_oversized_message(detail: ErrorDetails) -> bool:
    return detail["type"] == "string_too_long" and detail["loc"][0] in {"message", "messages"}
