"""`Prefer` (RFC 7240): whether a caller waits for the answer, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.request import parse_http_list

from starlette.requests import Request

HEADER = "Prefer"
RESPOND_ASYNC = "respond-async"
WAIT = "wait"

MAX_WAIT_SECONDS = 200
"""Less than the 230 s after which Azure's load balancer closes a request. A longer `wait` is cut,
because a preference is not an order."""

_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Preference:
    """What a caller prefers."""

    respond_async: bool = False
    """Answer with a job that can be looked up later."""
    wait: int = 0
    """Seconds to wait for the job before that; 0 without ``respond_async``."""

    @property
    def applied(self) -> dict[str, str]:
        """The header that says which preferences were followed; none without ``respond_async``."""
        if not self.respond_async:
            return {}
        wait = f", {WAIT}={self.wait}" if self.wait else ""
        return {"Preference-Applied": f"{RESPOND_ASYNC}{wait}"}


def preference(request: Request) -> Preference:
    """Read the preferences of a request; unknown and malformed ones are ignored."""
    return read_preference(request.headers.getlist(HEADER))


def read_preference(headers: Iterable[str]) -> Preference:
    """Read the values of `Prefer` headers.

    Of a preference that is given more than once, the first counts.
    """
    given: dict[str, str] = {}
    for element in parse_http_list(",".join(headers)):
        named, _, _parameters = element.partition(";")
        name, _, value = named.partition("=")
        given.setdefault(name.strip().lower(), _unquoted(value.strip()))
    if given.get(RESPOND_ASYNC) != "":
        return Preference()
    return Preference(respond_async=True, wait=_seconds(given.get(WAIT, "")))


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value.startswith('"') and value.endswith('"')
    return value[1:-1] if is_quoted else value


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        return 0
    digits = text.lstrip("0")
    return MAX_WAIT_SECONDS if len(digits) > _MAX_DIGITS else min(int(text), MAX_WAIT_SECONDS)
