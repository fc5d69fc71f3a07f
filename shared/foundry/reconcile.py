"""Finds out what a request did whose answer was lost.

A turn's lease makes us the only writer of a conversation, so the items after the last one we know
were left by lost requests: nothing, our message, or our message and its answer, and before and
after them the items of other lost turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from .conversations import item_text
from .errors import NotFoundError
from .models import ThreadRef
from .retry import Deadline
from .tools.unanswered import ANSWER_TYPES, missing, unanswered
from .transport import Call, Send
from .wire_json import JsonObject, objects_at, text_at

FIRST_LOOK_SECONDS = 0.2
MAX_LOOK_SECONDS = 2.0
PAGE_ITEMS = 100

TAIL_ITEMS = 20
"""A page of the newest items; nearly always holds the last turn."""

MAX_ITEMS_PER_CALL = 20
"""What the service takes at once."""

ANSWERED = {"completed", "incomplete"}
RUNNING = {"queued", "in_progress"}


@dataclass(frozen=True, slots=True)
class RecoveredItems:
    """The items of a conversation after the last one we knew."""

    items: list[JsonObject] = field(default_factory=list[JsonObject])
    """All of it, oldest first."""
    ours: bool = False
    """Our input is among them."""
    answer: list[JsonObject] = field(default_factory=list[JsonObject])
    """The model's output for our input, as far as it got."""
    passed: bool = False
    """Newer input follows ours, so an answer that is not there will not come any more."""

    @property
    def last_item_id(self) -> str | None:
        """The newest item."""
        return text_at(self.items[-1], "id") if self.items else None

    @property
    def is_answered(self) -> bool:
        """Whether the model has finished; what a tool returned is still to be answered."""
        return (
            bool(self.answer)
            and self.answer[-1].get("type") not in ANSWER_TYPES
            and all(item.get("status", "completed") in ANSWERED for item in self.answer)
        )


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest items of a conversation, at least those of its last turn."""

    last_item_id: str | None
    """The newest of all."""
    unanswered: list[JsonObject]
    """Calls and requests for approval that would block the conversation."""


class Reconciler:
    """Looks up what requests have left in Foundry."""

    def __init__(self, openai_url: str, send: Send) -> None:
        self._url = openai_url
        self._send = send

    async def look(self, thread: ThreadRef, sent: list[JsonObject]) -> RecoveredItems:
        """The items of ``thread`` after the last known one, and whether ``sent`` is among them."""
        newer: dict[str, str | int] = {"order": "asc", "limit": PAGE_ITEMS}
        if thread.last_item_id:
            newer["after"] = thread.last_item_id
        items: list[JsonObject] = []
        async for page in self._pages(thread.conversation_id, newer):
            items += page
        return _compare(items, sent, thread.others)

    async def settle(
        self, thread: ThreadRef, sent: list[JsonObject], deadline: Deadline
    ) -> RecoveredItems:
        """Look until an answer to our input is complete, at most until the deadline."""
        pause = FIRST_LOOK_SECONDS
        while True:
            recovered = await self.look(thread, sent)
            hopeless = not recovered.ours or recovered.passed
            if hopeless or recovered.is_answered or deadline.remaining() <= pause:
                return recovered
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_LOOK_SECONDS)

    async def tail(self, conversation_id: str) -> Tail:
        """How a conversation ends, however long it is: back to its newest user message."""
        items: list[JsonObject] = []
        newest: dict[str, str | int] = {"order": "desc", "limit": TAIL_ITEMS}
        async with aclosing(self._pages(conversation_id, newest)) as pages:
            async for page in pages:
                items += page
                if not all(map(_is_no_message, page)):
                    break
        return Tail(text_at(items[0], "id") if items else None, unanswered(reversed(items)))

    async def deliver(self, thread: ThreadRef, answers: list[JsonObject]) -> None:
        """Add the answers to calls to the conversation that it does not have yet.

        No model is called: the next message follows them. May be repeated.
        """
        owed = missing(answers, (await self.look(thread, [])).items)
        url = f"{self._url}/conversations/{thread.conversation_id}/items"
        for start in range(0, len(owed), MAX_ITEMS_PER_CALL):
            body: JsonObject = {"items": owed[start : start + MAX_ITEMS_PER_CALL]}
            await self._send(Call("POST", url, body))

    async def _pages(
        self, conversation_id: str | None, query: dict[str, str | int]
    ) -> AsyncGenerator[list[JsonObject]]:
        """The items of a conversation, page by page."""
        url, more = f"{self._url}/conversations/{conversation_id}/items", True
        while more:
            page = (await self._send(Call("GET", url, query=query))).body
            found = objects_at(page, "data")
            yield found
            more = bool(found) and page.get("has_more") is True
            query = {**query, "after": str(found[-1].get("id"))} if found else query

    async def response(self, response_id: str, deadline: Deadline) -> JsonObject | None:
        """A stored response once it has ended; None if it is not kept or does not end in time."""
        pause = FIRST_LOOK_SECONDS
        while True:
            try:
                body = (await self._send(Call("GET", f"{self._url}/responses/{response_id}"))).body
            except NotFoundError:
                return None
            if body.get("status") not in RUNNING:
                return body
            if deadline.remaining() <= pause:
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_LOOK_SECONDS)

    async def answer(self, recovered: RecoveredItems, deadline: Deadline) -> JsonObject:
        """The response object of an answer found in a conversation.

        Items name the response they belong to. If that is no longer stored, it is rebuilt from
        the items, and token counts are unknown.
        """
        response_id = text_at(recovered.answer[-1], "response_id")
        if response_id and (body := await self.response(response_id, deadline)):
            return body
        return {
            "id": response_id or recovered.last_item_id,
            "status": "completed",
            "output": recovered.answer,
        }


def _compare(
    items: list[JsonObject], sent: list[JsonObject], others: frozenset[str]
) -> RecoveredItems:
    """Find the newest occurrence of ``sent``; its answer ends where the next message begins.

    An occurrence whose answer is among ``others`` is an equal message of another client.
    """
    found, wanted = [_gist(i) for i in items], [_gist(i) for i in sent]
    for start in range(len(items) - len(sent), -1, -1):
        end = start + len(sent)
        if wanted and found[start:end] == wanted:
            answer = list(takewhile(_is_no_message, items[end:]))
            if any(item.get("response_id") in others for item in answer):
                continue
            return RecoveredItems(items, True, answer, passed=end + len(answer) < len(items))
    return RecoveredItems(items)


def _is_no_message(item: JsonObject) -> bool:
    """Whether an item belongs to the answer before it, as what tools returned does."""
    return item.get("role") != "user"


def _gist(item: JsonObject) -> tuple[Any, ...]:
    """What identifies an input item whatever form the service keeps it in."""
    kind = item.get("type")
    if kind in ANSWER_TYPES:
        return (kind, item.get("call_id"), item.get("approval_request_id"))
    if item.get("role"):
        return (item.get("role"), item_text(item))
    return (kind, item.get("call_id") or item.get("id"))
