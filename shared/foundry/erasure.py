"""Deletes what Foundry stores of a thread.

Deleting a conversation leaves the responses that were made on it, and deleting the newest response
of a chain leaves all before it, so each response is deleted by itself. The newest one goes last:
from it, a deletion that was interrupted finds what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import quote

from .errors import InvalidRequestError, NotFoundError
from .models import ThreadRef
from .transport import Call, Reply
from .wire_json import objects_at, required_text, text_at

DELETIONS_AT_ONCE = 8

PAGE_RESPONSES = 100
"""The most that one page of a list has."""

Send = Callable[[Call], Awaitable[Reply]]


class Erasure:
    """Deletions at one endpoint; what is already gone counts as deleted."""

    def __init__(self, openai_url: str, send: Send) -> None:
        self._url = openai_url
        self._send = send

    async def thread(self, backing: ThreadRef) -> None:
        """Delete what backs a thread, and every response that was made on it."""
        if backing.conversation_id:
            await self._responses_on(backing.conversation_id)
            await self._delete("conversations", backing.conversation_id)
        elif backing.last_response_id:
            for response_id in reversed(await self._chain(backing.last_response_id)):
                await self._delete("responses", response_id)

    async def responses(self, ids: Iterable[str]) -> None:
        """Delete responses by id."""
        slots = asyncio.Semaphore(DELETIONS_AT_ONCE)

        async def delete(response_id: str) -> None:
            async with slots:
                await self._delete("responses", response_id)

        await asyncio.gather(*(delete(response_id) for response_id in ids))

    async def _responses_on(self, conversation_id: str) -> None:
        """Delete all responses of a conversation, where the endpoint lists them."""
        deleted: set[str] = set()
        while found := set(await self._listed(conversation_id)) - deleted:
            await self.responses(found)
            deleted |= found

    async def _listed(self, conversation_id: str) -> list[str]:
        query: dict[str, str | int] = {"conversation_id": conversation_id, "limit": PAGE_RESPONSES}
        try:
            page = await self._send(Call("GET", f"{self._url}/responses", query=query))
        except (NotFoundError, InvalidRequestError):  # it has no list, or lost the conversation
            return []
        return [required_text(response, "id") for response in objects_at(page.body, "data")]

    async def _chain(self, newest: str) -> list[str]:
        """The responses of a chain, newest first, as far back as they are stored."""
        chain: list[str] = []
        response_id: str | None = newest
        while response_id is not None:
            try:
                response = await self._send(Call("GET", self._address("responses", response_id)))
            except NotFoundError:
                break
            chain.append(response_id)
            response_id = text_at(response.body, "previous_response_id")
        return chain

    async def _delete(self, kind: str, identifier: str) -> None:
        try:
            await self._send(Call("DELETE", self._address(kind, identifier)))
        except NotFoundError:
            return

    def _address(self, kind: str, identifier: str) -> str:
        return f"{self._url}/{kind}/{quote(identifier, safe='')}"
