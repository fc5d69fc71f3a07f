"""The Conversations API, and the history of threads that are response chains instead.

https://learn.microsoft.com/azure/ai-foundry/agents/concepts/runtime-components
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .endpoint import Endpoint
from .models import Message, MessagePage, ThreadRef
from .transport import Call, Reply
from .wire_json import JsonObject, objects_at, required_text, text_at

Send = Callable[[Call], Awaitable[Reply]]

_CHAIN_CURSOR = re.compile(r"(?P<response>[^:]+)(?::(?P<shown>[0-9]{1,4}))?")

_TEXT_PARTS = {"input_text", "output_text", "text"}


class Conversations:
    """Operations on what backs a thread."""

    def __init__(self, endpoint: Endpoint, send: Send) -> None:
        self._endpoint = endpoint
        self._send = send

    def _url(self, *path: str) -> str:
        """An address under this endpoint; an id cannot lead out of its place in the path."""
        return "/".join((self._endpoint.openai, *(quote(part, safe="") for part in path)))

    async def create(self, metadata: dict[str, str]) -> ThreadRef:
        """Make an empty thread: a conversation, or a chain that its first response will start."""
        if not self._endpoint.has_conversations:
            return ThreadRef()
        call = Call("POST", self._url("conversations"), {"metadata": metadata})
        return ThreadRef(conversation_id=required_text((await self._send(call)).body, "id"))

    async def get(self, conversation_id: str) -> JsonObject:
        """The conversation object: `id`, `created_at` (unix seconds), `metadata`."""
        return (await self._send(Call("GET", self._url("conversations", conversation_id)))).body

    async def response(self, response_id: str) -> JsonObject:
        """A stored response object."""
        return (await self._send(Call("GET", self._url("responses", response_id)))).body

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

    async def messages(self, backing: ThreadRef, limit: int, cursor: str | None) -> MessagePage:
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
        """Walk back from the newest response, each of which has a question and its answer.

        The walk begins at the thread's own newest response even for a later page: a cursor is
        the caller's word, and must not lead into somebody else's responses.
        """
        start, shown = _read_cursor(cursor) if cursor else (newest, 0)
        messages: list[Message] = []
        response_id, reached = newest, False
        while response_id and len(messages) < limit:
            reached = reached or response_id == start
            response = (await self._send(Call("GET", self._url("responses", response_id)))).body
            if reached:
                found = await self._exchanged(response_id, response)
                messages += found[shown:]
                if len(messages) > limit:
                    shown = len(found) - (len(messages) - limit)
                    return MessagePage(tuple(messages[:limit]), f"{response_id}:{shown}")
                shown = 0
            response_id = text_at(response, "previous_response_id")
        return MessagePage(tuple(messages), response_id)

    async def _exchanged(self, response_id: str, response: JsonObject) -> list[Message]:
        """The messages of one response, newest first: its answer, and what was asked."""
        url = self._url("responses", response_id, "input_items")
        newest_input: dict[str, str | int] = {"limit": 1, "order": "desc"}
        asked = (await self._send(Call("GET", url, query=newest_input))).body
        return _messages([*reversed(objects_at(response, "output")), *objects_at(asked, "data")])


def _read_cursor(cursor: str) -> tuple[str, int]:
    """The response at which a page begins, and how many of its messages were shown before."""
    read = _CHAIN_CURSOR.fullmatch(cursor)
    return (read["response"], int(read["shown"] or 0)) if read else ("", 0)


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
