"""Which web pages may call the MCP face.

A page in the caller's browser can make its own name lead to the caller's machine, and then reach an
app that runs there (DNS rebinding). Browsers send the page's origin with every such request; other
clients send none.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from ..config import AccessSettings, names_in
from ..http.forwarded import origin_of
from ..problems import Problem, ProblemError, ProblemKind

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}

FOREIGN_PAGE = Problem(
    ProblemKind.FORBIDDEN,
    "Web pages of this origin may not call the app: its operator lists origins in "
    "MCP_ALLOWED_ORIGINS.",
)


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of pages that may call."""

    settings: AccessSettings

    def check(self, request: Request) -> None:
        """Check the origins that a request names.

        Raises:
            ProblemError: 403 for a page that may not call.
        """
        for origin in request.headers.getlist("origin"):
            if not (origin.lower() in self._listed() or _is_local(origin, request)):
                raise ProblemError(FOREIGN_PAGE)

    def _listed(self) -> set[str]:
        name = self.settings.host_name
        own = [f"https://{name}"] if name else []
        return {origin.lower() for origin in [*own, *names_in(self.settings.mcp_origins)]}


def _is_local(origin: str, request: Request) -> bool:
    """Whether a page and the app are on the caller's own machine."""
    return {_host(origin), _host(origin_of(request))} <= _THIS_MACHINE


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
