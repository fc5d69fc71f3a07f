"""Threads in Foundry: conversations, or chains of responses.

https://learn.microsoft.com/azure/ai-foundry/agents/concepts/runtime-components
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .endpoint import Endpoint
from .errors import InvalidRequestError, NotFoundError
from .models import Message, MessagePage, ThreadRef
from .tools.unanswered import unanswered
from .transport import Call, Send
from .wire_json import JsonObject, objects_at, required_text, text_at

DELETIONS_AT_ONCE = 8

PAGE_RESPONSES = 100
"""The most that one page of a list has."""

_CHAIN_CURSOR = re.compile(r"(?P<response>[^:]+)(?::(?P<shown>[0-9]{1,4}))?")

_TEXT_PARTS = {"input_text", "output_text", "text"}


class Conversations:
    """What Foundry stores of threads at one endpoint: conversations and responses.

    Deleting a conversation leaves the responses that were made on it, and deleting the newest
    response of a chain leaves all before it, so each response is deleted by itself. The newest
    one goes last: an interrupted deletion finds the others from it.
    """

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

    async def open_chain(self, response_id: str) -> tuple[JsonObject, ThreadRef]:
        """The chain that ends with a response, without an unfinished turn at its end.

        Raises:
            NotFoundError: if there is none.
        """
        newest, reply = response_id, await self.response(response_id)
        while unanswered(objects_at(reply, "output")):
            if not (newest := text_at(reply, "previous_response_id")):
                return reply, ThreadRef()
            reply = await self.response(newest)
        return reply, ThreadRef(last_response_id=newest)

    async def last_item_id(self, conversation_id: str) -> str | None:
        """The newest item of a conversation; None for an empty one."""
        url = self._url("conversations", conversation_id, "items")
        page = (await self._send(Call("GET", url, query={"limit": 1, "order": "desc"}))).body
        items = objects_at(page, "data")
        return text_at(items[0], "id") if items else None

    async def items(
        self, conversation_id: str, *, limit: int, order: str, after: str | None
    ) -> tuple[list[JsonObject], bool]:
        """A page of items in an ``order``, and whether more follow."""
        query: dict[str, str | int] = {"limit": limit, "order": order}
        if after:
            query["after"] = after
        url = self._url("conversations", conversation_id, "items")
        page = (await self._send(Call("GET", url, query=query))).body
        return objects_at(page, "data"), bool(page.get("has_more"))

    async def add_items(
        self, conversation_id: str, items: Sequence[JsonObject]
    ) -> list[JsonObject]:
        """Add items at the end of a conversation; returns them with their ids."""
        url = self._url("conversations", conversation_id, "items")
        page = (await self._send(Call("POST", url, {"items": list(items)}))).body
        return objects_at(page, "data")

    async def item(self, conversation_id: str, item_id: str) -> JsonObject | None:
        """One item; None if there is none."""
        url = self._url("conversations", conversation_id, "items", item_id)
        try:
            return (await self._send(Call("GET", url))).body
        except NotFoundError:
            return None

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Delete an item; returns whether it was there."""
        url = self._url("conversations", conversation_id, "items", item_id)
        try:
            await self._send(Call("DELETE", url))
        except NotFoundError:
            return False
        return True

    async def update(self, conversation_id: str, metadata: dict[str, str]) -> None:
        """Replace the metadata of a conversation."""
        url = self._url("conversations", conversation_id)
        await self._send(Call("POST", url, {"metadata": metadata}))

    async def messages(self, thread: ThreadRef, limit: int, cursor: str | None) -> MessagePage:
        """A page of at most ``limit`` messages, newest first."""
        if thread.conversation_id:
            return await self._conversation_page(thread.conversation_id, limit, cursor)
        return await self._chain_page(thread.last_response_id, limit, cursor)

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

        The walk begins at the thread's own newest response even for a later page: a cursor
        comes from the caller and must not lead into responses of another thread.
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

    async def delete(self, thread: ThreadRef) -> None:
        """Delete a thread, and every response that was made on it."""
        if thread.conversation_id:
            await self._delete_responses_on(thread.conversation_id)
            await self._delete("conversations", thread.conversation_id)
        elif thread.last_response_id:
            for response_id in reversed(await self._chain(thread.last_response_id)):
                await self._delete("responses", response_id)

    async def delete_responses(self, ids: Iterable[str]) -> None:
        """Delete responses by id."""
        slots = asyncio.Semaphore(DELETIONS_AT_ONCE)

        async def delete(response_id: str) -> None:
            async with slots:
                await self._delete("responses", response_id)

        await asyncio.gather(*(delete(response_id) for response_id in ids))

    async def _delete_responses_on(self, conversation_id: str) -> None:
        """Delete all responses of a conversation, where the endpoint lists them."""
        deleted: set[str] = set()
        while found := set(await self._listed(conversation_id)) - deleted:
            await self.delete_responses(found)
            deleted |= found

    async def _listed(self, conversation_id: str) -> list[str]:
        query: dict[str, str | int] = {"conversation_id": conversation_id, "limit": PAGE_RESPONSES}
        try:
            page = await self._send(Call("GET", self._url("responses"), query=query))
        except (NotFoundError, InvalidRequestError):  # it has no list, or lost the conversation
            return []
        return [required_text(response, "id") for response in objects_at(page.body, "data")]

    async def _chain(self, newest: str) -> list[str]:
        """The responses of a chain, newest first, as far back as they are stored."""
        chain: list[str] = []
        response_id: str | None = newest
        while response_id is not None:
            try:
                response = await self._send(Call("GET", self._url("responses", response_id)))
            except NotFoundError:
                break
            chain.append(response_id)
            response_id = text_at(response.body, "previous_response_id")
        return chain

    async def _delete(self, kind: str, identifier: str) -> None:
        """Delete one object; one that is already gone counts as deleted."""
        try:
            await self._send(Call("DELETE", self._url(kind, identifier)))
        except NotFoundError:
            return


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
