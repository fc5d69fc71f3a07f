"""The Conversations API, and the history of threads that are response chains instead.

https://learn.microsoft.com/azure/ai-foundry/agents/concepts/runtime-components
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .endpoint import Endpoint
from .models import Backing, Message, MessagePage
from .transport import Call, Reply
from .wire_json import JsonObject, objects_at, required_text, text_at

Send = Callable[[Call], Awaitable[Reply]]

_TEXT_PARTS = {"input_text", "output_text", "text"}


class Conversations:
    """Operations on what backs a thread."""

    def __init__(self, endpoint: Endpoint, send: Send) -> None:
        self._endpoint = endpoint
        self._send = send

    def _url(self, *path: str) -> str:
        """An address under this endpoint; an id cannot lead out of its place in the path."""
        return "/".join((self._endpoint.openai, *(quote(part, safe="") for part in path)))

    async def create(self, metadata: dict[str, str]) -> Backing:
        """Make an empty thread: a conversation, or a chain that its first response will start."""
        if not self._endpoint.has_conversations:
            return Backing()
        call = Call("POST", self._url("conversations"), {"metadata": metadata})
        return Backing(conversation_id=required_text((await self._send(call)).body, "id"))

    async def get(self, conversation_id: str) -> JsonObject:
        """The conversation object: `id`, `created_at` (unix seconds), `metadata`."""
        return (await self._send(Call("GET", self._url("conversations", conversation_id)))).body

    async def last_item_id(self, conversation_id: str) -> str | None:
        """The newest item of a conversation; None for an empty one."""
        url = self._url("conversations", conversation_id, "items")
        page = (await self._send(Call("GET", url, query={"limit": 1, "order": "desc"}))).body
        items = objects_at(page, "data")
        return text_at(items[0], "id") if items else None

    async def update(self, conversation_id: str, metadata: dict[str, str]) -> None:
        """Replace the metadata of a conversation."""
        url = self._url("conversations", conversation_id)
        await self._send(Call("POST", url, {"metadata": metadata}))

    async def delete(self, backing: Backing) -> None:
        """Delete a conversation, or the newest response of a chain and so its way back."""
        if backing.conversation_id:
            await self._send(Call("DELETE", self._url("conversations", backing.conversation_id)))
        elif backing.last_response_id:
            await self._send(Call("DELETE", self._url("responses", backing.last_response_id)))

    async def messages(self, backing: Backing, limit: int, cursor: str | None) -> MessagePage:
        """A page of at most ``limit`` messages, newest first."""
        if backing.conversation_id:
            return await self._conversation_page(backing.conversation_id, limit, cursor)
        return await self._chain_page(backing.last_response_id, limit, cursor)

    async def _conversation_page(
        self, conversation_id: str, limit: int, cursor: str | None
    ) -> MessagePage:
        query: dict[str, str | int] = {"limit": limit, "order": "desc"}
        if cursor:
            query["after"] = cursor
        url = self._url("conversations", conversation_id, "items")
        page = (await self._send(Call("GET", url, query=query))).body
        items = objects_at(page, "data")
        next_cursor = str(items[-1]["id"]) if items and page.get("has_more") else None
        return MessagePage(tuple(_messages(items)), next_cursor)

    async def _chain_page(self, newest: str | None, limit: int, cursor: str | None) -> MessagePage:
        """Walk back from the newest response, whose messages come in pairs.

        The walk begins at the thread's own newest response even for a later page: a cursor is
        the caller's word, and must not lead into somebody else's responses.
        """
        messages: list[Message] = []
        response_id, collecting = newest, cursor is None
        while response_id and len(messages) < limit:
            collecting = collecting or response_id == cursor
            url = self._url("responses", response_id)
            response = (await self._send(Call("GET", url))).body
            if collecting:
                newest_input = {"limit": 1, "order": "desc"}
                asked = (
                    await self._send(Call("GET", f"{url}/input_items", query=newest_input))
                ).body
                items = [*reversed(objects_at(response, "output")), *objects_at(asked, "data")]
                messages += _messages(items)
            response_id = text_at(response, "previous_response_id")
        return MessagePage(tuple(messages), response_id)


def _messages(items: list[JsonObject]) -> list[Message]:
    return [
        Message(
            id=str(item.get("id")),
            role=str(item.get("role")),
            content=item_text(item),
            created_at=_moment(item.get("created_at")),
        )
        for item in items
        if item.get("type") == "message"
    ]


def item_text(item: JsonObject) -> str:
    """The text of a message item, whether it is kept whole or in parts."""
    if isinstance(item.get("content"), str):
        return item["content"]
    parts = objects_at(item, "content")
    return "".join(text_at(part, "text") or "" for part in parts if part.get("type") in _TEXT_PARTS)


def _moment(unix_seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds else None
