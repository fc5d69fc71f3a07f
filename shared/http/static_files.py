"""Serves the files of a web page: revalidated or kept for ever, compressed, under a strict policy.

Only files that exist when the folder is read are served, under the names that they have then: no
path is ever made from a request.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from ..problems import NOT_FOUND, ProblemError
from .answers import Answer
from .request import Incoming

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
_PAGE_HEADERS = {
    "Content-Security-Policy": SECURITY_POLICY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Vary": "Accept-Encoding",
}

REVALIDATED = {"Cache-Control": "no-cache"}
"""Caches may store it, and ask each time whether it is still current."""

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
"""Caches ask never again: the name contains the version."""

_REFUSED = re.compile(r"q=0(\.0{0,3})?")
_COMPRESSED = ".gz"

NO_MARKS: Mapping[str, str] = MappingProxyType({})

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
}


@dataclass(frozen=True)
class StaticFile:
    """A file, which is read when it is first asked for."""

    path: Path
    media_type: str
    caching: Mapping[str, str]
    marks: Mapping[str, str] = field(default_factory=lambda: NO_MARKS)
    """Texts of the file, and what is served in their place."""

    @cached_property
    def content(self) -> bytes:
        """The file as a browser uses it."""
        stored = self.path.read_bytes()
        content = gzip.decompress(stored) if self.path.suffix == _COMPRESSED else stored
        for mark, text in self.marks.items():
            content = content.replace(mark.encode(), text.encode())
        return content

    @cached_property
    def compressed(self) -> bytes:
        """The file as it is sent to a browser that takes gzip."""
        if self.path.suffix == _COMPRESSED:
            return self.path.read_bytes()
        return gzip.compress(self.content, mtime=0)

    def answer(self, incoming: Incoming) -> Answer:
        """The file, or 304 for a caller who has it."""
        zipped = _takes_gzip(incoming)
        found = revalidated(incoming, self.content, self.media_type)
        found.headers.update({**_PAGE_HEADERS, **self.caching})
        if found.content is None or not zipped:
            return found
        found.headers["Content-Encoding"] = "gzip"
        return Answer(
            None, headers=found.headers, content=self.compressed, media_type=self.media_type
        )


@dataclass(frozen=True)
class StaticFolder:
    """The files of a folder and of the folders in it, by their paths with forward slashes."""

    files: Mapping[str, StaticFile] = field(default_factory=dict[str, StaticFile])

    @classmethod
    def read(
        cls, folder: Path, *, immutable: str = "", marks: Mapping[str, str] = NO_MARKS
    ) -> StaticFolder:
        """List the files that browsers use; those in the folder ``immutable`` never change.

        ``marks`` are replaced in pages.
        """
        files: dict[str, StaticFile] = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix().removesuffix(_COMPRESSED)
            media_type = _TYPES.get(Path(name).suffix)
            if media_type:
                kept = bool(immutable) and name.startswith(f"{immutable}/")
                caching = IMMUTABLE if kept else REVALIDATED
                of_page = marks if name.endswith(".html") else NO_MARKS
                files[name] = StaticFile(path, media_type, caching, of_page)
        return cls(MappingProxyType(files))

    async def answer(self, incoming: Incoming, name: str) -> Answer:
        """The file of a name.

        Raises:
            ProblemError: 404 if there is none.
        """
        found = self.files.get(name)
        if found is None:
            raise ProblemError(NOT_FOUND)
        return await asyncio.to_thread(found.answer, incoming)


def revalidated(incoming: Incoming, content: bytes, media_type: str) -> Answer:
    """The content with its version, or 304 for a caller who has this version."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**REVALIDATED, "ETag": tag}
    given = incoming.request.headers.get("if-none-match", "")
    if tag in (each.strip().removeprefix("W/") for each in given.split(",")):
        return Answer(None, HTTPStatus.NOT_MODIFIED, headers)
    return Answer(None, headers=headers, content=content, media_type=media_type)


def _takes_gzip(incoming: Incoming) -> bool:
    for each in incoming.request.headers.get("accept-encoding", "").split(","):
        coding, _, quality = each.partition(";")
        if coding.strip().lower() == "gzip":
            return _REFUSED.fullmatch(quality.strip()) is None
    return False
