"""`/openapi.json` and `/docs`: the API document, and the page that shows it.

Both need no key: they hold no data of an owner, and a browser opens a page without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..http.answers import Answer, OpenHandler
from ..http.request import Incoming
from ..http.static_files import StaticFolder, revalidated

PAGE = Path(__file__).with_name("docs_page")


@dataclass(frozen=True, slots=True)
class ReferenceApi:
    """Handlers of `/openapi.json` and `/docs`."""

    document: Callable[[], bytes]
    """Builds the API document, on the first call only."""
    page: StaticFolder = field(default_factory=lambda: StaticFolder.read(PAGE))

    async def openapi(self, incoming: Incoming) -> Answer:
        """The API document of this app."""
        document = await asyncio.to_thread(self.document)
        return revalidated(incoming, document, "application/json")

    def file(self, name: str) -> OpenHandler:
        """The handler of a file of the page."""

        async def answer(incoming: Incoming) -> Answer:
            return await self.page.answer(incoming, name)

        return answer
