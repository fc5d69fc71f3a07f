"""`/threads`: create, list, change and delete threads, and send messages on them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from ..foundry.asking import MAX_METADATA_KEY, MAX_METADATA_TEXT
from ..foundry.models import Message, ThreadRef
from ..foundry.service import FoundryService
from ..http.answers import Answer, Streamed
from ..http.idempotency import kept, once
from ..http.request import MAX_PAGE_SIZE, PAGE_SIZE, Incoming, invalid_field, query
from ..metering.owner_limits import OwnerLimits
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.keys import Kind, is_id, new_id
from ..state.lanes import Clock
from ..state.threads import MAX_METADATA_PAIRS, Thread, Threads
from ..threads.removal import Removal
from ..turns.body import Body, Metadata, MetadataKey, MetadataText
from .messages import MessagesApi

MAX_FILTERS = 8
"""Table Storage takes 15 comparisons in a query, some of which the app needs itself."""

MAX_WAIT_SECONDS = 100
"""For a busy thread; the turn gets the rest of the time that Azure allows for a response."""

_METADATA_FILTER = "metadata."
_FOUNDRY_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")


class CreateThread(Body):
    """Body of `POST /threads`."""

    metadata: Metadata = Field(default={})
    """Up to 16 pairs to find the thread by."""

    expires_in: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """Seconds after which the thread is deleted."""


class PatchThread(Body):
    """Body of `PATCH /threads/{thread_id}`."""

    metadata: Annotated[
        dict[MetadataKey, MetadataText | None], Field(max_length=2 * MAX_METADATA_PAIRS)
    ]
    """Pairs to add or change; null removes one."""


@dataclass(frozen=True, slots=True)
class ThreadsApi:
    """Handlers of `/threads`."""

    threads: Threads
    foundry: FoundryService
    removal: Removal
    messages: MessagesApi
    limits: OwnerLimits
    keys: IdempotencyKeys
    clock: Clock

    async def create(self, incoming: Incoming) -> Answer | Streamed:
        """Start a thread."""
        body = await incoming.body(CreateThread)

        async def act(claim: Claim | None) -> Answer:
            self.limits.new_thread(incoming.owner)
            thread = await self._new_thread(incoming.owner, body, claim)
            headers = {"Location": f"{incoming.request.url.path}/{thread.thread_id}"}
            answer = Answer(thread_document(thread), HTTPStatus.CREATED, headers)
            await self.threads.add(thread, kept(claim, answer))
            return answer

        return await once(self.keys, incoming, body, act)

    async def _new_thread(self, owner: str, body: CreateThread, claim: Claim | None) -> Thread:
        """Create a thread in Foundry; its row is not stored yet."""
        ref = await self.foundry.create_thread(body.metadata)
        now = self.clock()
        return Thread(
            thread_id=claim.id(Kind.THREAD) if claim else new_id(Kind.THREAD),
            owner=owner,
            created_at=now,
            last_accessed=now,
            agent_id=self.foundry.config.agent_id or None,
            metadata=body.metadata,
            conversation_id=ref.conversation_id,
            expires_at=now + timedelta(seconds=body.expires_in) if body.expires_in else None,
        )

    @query("limit", "cursor", _METADATA_FILTER)
    async def list_(self, incoming: Incoming) -> Answer:
        """A page of the caller's threads, newest first."""
        limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
        cursor = incoming.query.get("cursor")
        if cursor is not None and not is_id(Kind.THREAD, cursor):
            raise invalid_field("cursor", "must be the next_cursor of an earlier page")
        metadata = _metadata_filter(incoming)
        threads = await self.threads.list(
            incoming.owner, limit=limit, after=cursor, metadata=metadata
        )
        next_cursor = threads[-1].thread_id if len(threads) == limit else None
        return Answer({"data": [thread_document(t) for t in threads], "next_cursor": next_cursor})

    async def get(self, incoming: Incoming) -> Answer:
        """One thread."""
        thread = await self.threads.get(incoming.owner, incoming.path["thread_id"])
        return Answer(thread_document(thread))

    async def patch(self, incoming: Incoming) -> Answer:
        """Merge pairs into the metadata of a thread."""
        body = await incoming.body(PatchThread)
        thread = await self.threads.merge_metadata(
            incoming.owner, incoming.path["thread_id"], body.metadata
        )
        return Answer(thread_document(thread))

    async def delete(self, incoming: Incoming) -> Answer:
        """Delete a thread with its turns and jobs, here and in Foundry.

        The status is 202 if a long thread is still being deleted; it can no longer be read.
        """
        thread_id = incoming.path["thread_id"]
        if await self.removal.remove(incoming.owner, thread_id):
            return Answer(None, HTTPStatus.NO_CONTENT)
        return Answer({"thread_id": thread_id, "status": "deleting"}, HTTPStatus.ACCEPTED)

    @query("limit", "cursor")
    async def list_messages(self, incoming: Incoming) -> Answer:
        """A page of a thread's history from Foundry, newest message first."""
        limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
        thread = await self.threads.get(incoming.owner, incoming.path["thread_id"])
        cursor = incoming.query.get("cursor")
        if cursor is not None and not await self._is_cursor(thread, cursor):
            raise invalid_field("cursor", "must be the next_cursor of an earlier page")
        page = await self.foundry.messages(_ref(thread), limit=limit, cursor=cursor)
        data = [message_document(message) for message in page.messages]
        return Answer({"data": data, "next_cursor": page.next_cursor})

    @query("wait")
    async def send_message(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message on a thread; `wait` is for how many seconds to wait for a busy one."""
        wait = incoming.integer("wait", 0, 0, MAX_WAIT_SECONDS)
        with self.limits.waiting(incoming.owner, wait):
            return await self.messages.run_turn(incoming, incoming.path["thread_id"], wait)

    async def _is_cursor(self, thread: Thread, cursor: str) -> bool:
        """Whether a page of history may start at a cursor.

        Foundry continues a conversation only from its own items. It continues a chain of responses
        from any response, so the response must be one of this thread.
        """
        if not _FOUNDRY_ID.fullmatch(cursor):
            return False
        if thread.conversation_id:
            return True
        return await self.threads.has_response(thread.owner, thread.thread_id, cursor)


def _metadata_filter(incoming: Incoming) -> dict[str, str]:
    """The pairs of the filters `metadata.<key>=<text>` in the query."""
    pairs = {
        name.removeprefix(_METADATA_FILTER): text
        for name, text in incoming.query.items()
        if name.startswith(_METADATA_FILTER)
    }
    if len(pairs) > MAX_FILTERS:
        raise invalid_field("metadata", f"can filter by {MAX_FILTERS} pairs at most")
    for key, text in pairs.items():
        if not 0 < len(key) <= MAX_METADATA_KEY or len(text) > MAX_METADATA_TEXT:
            reason = f"takes keys of 1 to {MAX_METADATA_KEY} and texts of up to {MAX_METADATA_TEXT}"
            raise invalid_field(f"{_METADATA_FILTER}{key[:200]}", reason)
    return pairs


def _ref(thread: Thread) -> ThreadRef:
    return ThreadRef(thread.conversation_id, thread.last_response_id)


def thread_document(thread: Thread) -> dict[str, Any]:
    """A thread as callers see it."""
    return {
        "thread_id": thread.thread_id,
        "agent_id": thread.agent_id,
        "created_at": _moment(thread.created_at),
        "last_accessed": _moment(thread.last_accessed),
        "expires_at": _moment(thread.expires_at),
        "message_count": thread.message_count,
        "total_tokens": thread.total_tokens,
        "metadata": dict(thread.metadata),
    }


def message_document(message: Message) -> dict[str, Any]:
    """A message of a thread's history as callers see it."""
    return {**asdict(message), "created_at": _moment(message.created_at)}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
