"""`/console`: the files of the web console.

They need no key, because they hold no data: the scripts ask the API for it with the credentials of
the person who uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import AuthMode
from ..http.answers import Answer
from ..http.request import Incoming
from ..http.static_files import StaticFolder

STATIC = Path(__file__).with_name("static")

MODE_MARK = "{{auth_mode}}"
VERSIONED = "vendor"
"""The folder of libraries, whose names contain their versions."""


@dataclass(frozen=True, slots=True)
class ConsolePages:
    """Handlers of `/console`; without files, where the console is off, each address is unknown."""

    files: StaticFolder

    @classmethod
    def build(cls, mode: AuthMode, *, is_on: bool) -> ConsolePages:
        """The console's files, or none; the page knows how callers sign in."""
        if not is_on:
            return cls(StaticFolder())
        return cls(StaticFolder.read(STATIC, immutable=VERSIONED, marks={MODE_MARK: mode}))

    async def page(self, incoming: Incoming) -> Answer:
        """The page itself."""
        return await self.files.answer(incoming, "index.html")

    async def file(self, incoming: Incoming) -> Answer:
        """A script or style of the page."""
        return await self.files.answer(incoming, incoming.path["file"])

    async def nested_file(self, incoming: Incoming) -> Answer:
        """A file in a folder: a screen, or a library."""
        folder, file = incoming.path["folder"], incoming.path["file"]
        return await self.files.answer(incoming, f"{folder}/{file}")
