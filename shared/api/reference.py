"""`/openapi.json` and `/docs`: the API document, and the page that shows it.

Both need no key: they hold no data of an owner, and a browser opens a page without one.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path

from ..http.answers import Answer, OpenHandler
from ..http.request import Incoming

PAGE = Path(__file__).with_name("docs_page")

SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {"Content-Security-Policy": SECURITY_POLICY, "Referrer-Policy": "no-referrer"}

REVALIDATED = {"Cache-Control": "no-cache"}
"""Caches may keep it, and ask each time whether it is still current."""

_REFUSED = re.compile(r"q=0(\.0{0,3})?")

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class ReferenceApi:
    """Handlers of `/openapi.json` and `/docs`."""

    document: Callable[[], bytes]
    """Builds the API document, on the first call only."""

    async def openapi(self, incoming: Incoming) -> Answer:
        """The API document of this app."""
        return _file(incoming, await asyncio.to_thread(self.document), "application/json")

    def file(self, name: str) -> OpenHandler:
        """The handler of a file of the page."""

        async def answer(incoming: Incoming) -> Answer:
            content, is_gzip = await asyncio.to_thread(_read, name)
            coding: dict[str, str] = {}
            if is_gzip and _takes_gzip(incoming):
                coding = {"Content-Encoding": "gzip"}
            elif is_gzip:
                content = await asyncio.to_thread(gzip.decompress, content)
            found = _file(incoming, content, _TYPES[Path(name).suffix])
            found.headers.update(_HEADERS | coding | {"Vary": "Accept-Encoding"})
            return found

        return answer


@cache
def _read(name: str) -> tuple[bytes, bool]:
    """A file of the page, and whether it is stored compressed."""
    path = PAGE / name
    return (path.read_bytes(), False) if path.exists() else (Path(f"{path}.gz").read_bytes(), True)


def _takes_gzip(incoming: Incoming) -> bool:
    for each in incoming.request.headers.get("accept-encoding", "").split(","):
        coding, _, quality = each.partition(";")
        if coding.strip().lower() == "gzip":
            return _REFUSED.fullmatch(quality.strip()) is None
    return False


def _file(incoming: Incoming, content: bytes, media_type: str) -> Answer:
    """The file, or 304 for a caller who has it."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**REVALIDATED, "ETag": tag}
    given = incoming.request.headers.get("if-none-match", "")
    if tag in (each.strip().removeprefix("W/") for each in given.split(",")):
        return Answer(None, HTTPStatus.NOT_MODIFIED, headers)
    return Answer(None, headers=headers, content=content, media_type=media_type)
