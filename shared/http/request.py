"""A request as handlers see it: the caller, and the validated query and body."""

from __future__ import annotations

import asyncio
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import Headers
from starlette.requests import Request
from ulid import ULID

from ..audit.trail import Caller
from ..metering.owner_limits import LimitError, OwnerLimit
from ..problems import FieldError, Problem, ProblemError, ProblemKind
from ..turns.body import Body
from .principal import OWNER_PARAMETER, Principal

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Room for an escaped message of 1,048,576 characters and the other fields."""

BODY_SECONDS = 15.0
"""The time limit for receiving a body: a slow one occupies memory and a request slot."""

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100

EARLIEST_DAY = date(2000, 1, 1)
"""No record is older; and there must be a day before the first one."""

_GZIP = b"\x1f\x8b"
_UTF_16 = (BOM_UTF16_LE, BOM_UTF16_BE)
_CHARSET = "charset="
_UTF_8 = {"utf-8", "utf8", "us-ascii"}

MAX_FIELD_ERRORS = 20
"""The most errors in one problem; a body may have a million invalid fields."""

MAX_FIELD_CHARS = 200
"""The longest field name in a problem; callers choose the names of unknown fields."""

MAX_PARAMETER_CHARS = 2_048
"""The longest value in the query; cursors are the longest valid ones."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_INTEGER = re.compile(r"-?[0-9]{1,9}")
_SANE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_Body = TypeVar("_Body", bound=Body)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One HTTP request."""

    request: Request
    principal: Principal
    request_id: str

    @property
    def owner(self) -> str:
        """Whose data the request is about."""
        return self.principal.owner

    @property
    def caller(self) -> Caller:
        """The caller, for audit records."""
        return self.principal.caller(self.request_id)

    @property
    def path(self) -> Mapping[str, str]:
        """Parameters of the route."""
        return self.request.path_params

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters of the query; the last value of a repeated one."""
        return self.request.query_params

    def check_query(self) -> None:
        """Check that every parameter is short enough and has no control characters.

        Raises:
            ProblemError: 422, naming the first invalid parameter.
        """
        for name, text in self.request.query_params.multi_items():
            if _CONTROL.search(name) or _CONTROL.search(text):
                raise invalid_field(_printable(name), "must not contain control characters")
            if len(name) > MAX_FIELD_CHARS or len(text) > MAX_PARAMETER_CHARS:
                raise invalid_field(
                    _printable(name), f"must have at most {MAX_PARAMETER_CHARS} characters"
                )

    async def body(self, model: type[_Body]) -> _Body:
        """The validated JSON body; a missing body counts as an empty object.

        Raises:
            ProblemError: 400, 413, 415 or 422, saying which field and why.
        """
        content = await self._content()
        if content and (reason := _unsupported(self.request.headers, content)):
            problem = Problem(ProblemKind.UNSUPPORTED_MEDIA_TYPE, reason)
            raise ProblemError(problem)
        try:
            return model.read(content or b"{}")
        except ValidationError as error:
            raise ProblemError(_invalid_body(error.errors(include_url=False))) from error

    async def _content(self) -> bytes:
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

    def day(self, name: str, default: date) -> date:
        """A day in the query, in UTC.

        Raises:
            ProblemError: 422, if it is not a date, or before `EARLIEST_DAY`.
        """
        text = self.query.get(name)
        if not text:
            return default
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise invalid_field(name, "must be a day, YYYY-MM-DD") from None
        if day < EARLIEST_DAY:
            raise invalid_field(name, f"must not be before {EARLIEST_DAY}")
        return day

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number in the query.

        Raises:
            ProblemError: 422, if it is not one or is out of range.
        """
        text = self.query.get(name)
        if text is None:
            return default
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise invalid_field(name, f"must be a whole number from {least} to {most}")
        return int(text)


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


def invalid_field(field: str, reason: str) -> ProblemError:
    """The error for one invalid field."""
    return ProblemError(
        Problem(
            ProblemKind.INVALID_REQUEST,
            f"{field} {reason}.",
            errors=(FieldError(field, reason),),
        )
    )


def _printable(name: str) -> str:
    """A parameter's name without control characters, cut for a problem."""
    return _CONTROL.sub("?", name)[:MAX_FIELD_CHARS]


def _invalid_body(details: list[ErrorDetails]) -> Problem:
    first = details[0]
    if first["type"] == "json_invalid":
        return Problem(ProblemKind.INVALID_JSON, f"The body is not JSON: {first['msg']}.")
    errors = tuple(FieldError(_field(d), d["msg"]) for d in details[:MAX_FIELD_ERRORS])
    if any(_is_oversized_message(detail) for detail in details):
        return Problem(
            ProblemKind.TOO_LARGE,
            "The message is too long.",
            None,
            errors,
        )
    listed = "; ".join(f"{error.field}: {error.reason}" for error in errors)
    return Problem(ProblemKind.INVALID_REQUEST, f"{listed}.", None, errors)


def _field(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"])[:MAX_FIELD_CHARS] or "body"


def _is_oversized_message(detail: ErrorDetails) -> bool:
    return detail["type"] == "string_too_long" and detail["loc"][0] in {"message", "messages"}


EVERYWHERE = (OWNER_PARAMETER, "code", "clientId")
"""Every route takes these: the owner that an admin names, and the host's key parameters."""

MAX_SHOWN_CHARS = 100

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

_taken: dict[Callable[..., Any], tuple[str, ...]] = {}


def query(*names: str) -> Callable[[_Handler], _Handler]:
    """Declare the query parameters of a handler; a name that ends with a dot is a prefix."""

    def declare(handler: _Handler) -> _Handler:
        _taken[handler] = names
        return handler

    return declare


def check_names(handler: Callable[..., Any], given: Iterable[str]) -> None:
    """Check that a handler takes all query parameters of a request.

    Raises:
        ProblemError: 422, with the unknown name and the most similar known one.
    """
    function = getattr(handler, "__func__", handler)  # handlers are bound methods
    known = (*_taken.get(function, ()), *EVERYWHERE)
    for name in given:
        if not any(_is(name, each) for each in known):
            raise ProblemError(_unknown(name, known))


def _is(name: str, known: str) -> bool:
    return name == known or (known.endswith(".") and name.startswith(known) and name != known)


def _unknown(name: str, known: Iterable[str]) -> Problem:
    shown = name[:MAX_SHOWN_CHARS]
    offered = [each for each in known if each not in EVERYWHERE[1:]]
    nearest = get_close_matches(shown.lower(), offered, 1, cutoff=0.0)
    reason = f"is not a parameter of this address; did you mean {nearest[0]}?"
    return Problem(
        ProblemKind.INVALID_REQUEST,
        f"{shown} {reason}",
        errors=(FieldError(shown, reason),),
    )
