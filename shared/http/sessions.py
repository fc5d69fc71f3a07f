"""Browser sessions: requests that App Service authentication recognises by its cookie.

A browser adds the cookie to each request to the app, also to one that a page of another site makes.
So a request that changes something must prove that a page of the app itself made it. A token or a
key in a header is such a proof: no page can add one to a request to another site without that
site's consent (CORS), and the app gives none.

The token behind a session was issued to the app itself, so it names no client application.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request

from ..problems import Problem, ProblemError, ProblemKind
from .forwarded import origin_of

CONSOLE_HEADER = "x-aos-console"
"""Sent by the console with each request; its value is 1."""

_SAFE = {"GET", "HEAD", "OPTIONS"}
_KEY_HEADERS = ("x-functions-key", "x-zumo-auth")
"""Headers beside `Authorization: Bearer` that authenticate a request to the platform."""

FROM_ELSEWHERE = Problem(
    ProblemKind.FORBIDDEN,
    "A request with a browser's session must come from a page of this app and have the header "
    "X-AOS-Console: 1. Programs send a Microsoft Entra token as 'Authorization: Bearer ...'.",
)


def is_session(headers: Headers) -> bool:
    """Whether a request has a principal from the cookie alone."""
    bearers = (each.lower().startswith("bearer ") for each in headers.getlist("authorization"))
    return not (any(bearers) or any(name in headers for name in _KEY_HEADERS))


def check_own_page(request: Request) -> None:
    """Check that a request with a session that changes something was made by a page of the app.

    Raises:
        ProblemError: 403 if it was not, or may not have been.
    """
    if request.method in _SAFE:
        return
    if request.headers.getlist(CONSOLE_HEADER) != ["1"] or not _is_same_origin(request):
        raise ProblemError(FROM_ELSEWHERE)


def _is_same_origin(request: Request) -> bool:
    """Whether the browser says so; old ones without `Sec-Fetch-Site` say it by `Origin`."""
    sites = request.headers.getlist("sec-fetch-site")
    if sites:
        return sites == ["same-origin"]
    own = origin_of(request)
    return own != "" and request.headers.getlist("origin") == [own]
