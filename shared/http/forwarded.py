"""The address at which a caller reached the app.

The worker itself sees the address of its own server. The Functions host sets both headers, and
overwrites what a caller sends.
"""

from __future__ import annotations

import re

from starlette.requests import Request

HOST_HEADER = "x-forwarded-host"
SCHEME_HEADER = "x-forwarded-proto"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?")


def origin_of(request: Request) -> str:
    """Scheme, host and port, as in `https://acme.azurewebsites.net`; empty if one is invalid."""
    host = request.headers.get(HOST_HEADER) or request.headers.get("host", "")
    scheme = request.headers.get(SCHEME_HEADER) or request.url.scheme
    if scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        return ""
    return f"{scheme}://{host}"
