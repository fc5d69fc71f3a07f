"""`/threads`: create, list, change and delete threads, and send messages on them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import Field

from ..documents import Document, json_integer
from ..foundry.asking import MAX_METADATA_KEY, MAX_METADATA_TEXT
from ..foundry.models import Message, ThreadRef
from ..foundry.service import FoundryService
from ..http.answers import Answer, Streamed
from ..http.field_errors import invalid_field
from ..http.idempotency import Keyed, kept, keyed, once
from ..http.prefer import preference
from ..http.query import PageQuery, Query, id_schema, last_id, whole_number
from ..http.request import Incoming
from ..metering.owner_limits import OwnerLimits
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.keys import Kind, new_id
from ..state.threads import MAX_METADATA_PAIRS, Thread, Threads
from ..threads.creation import Creation
from ..threads.removal import Removal
from ..turns.body import Body, Metadata, MetadataKey, MetadataText
from .messages import MessagesApi

ADDRESS = "/api/threads"

MAX_FILTERS = 8
"""Table Storage takes 15 comparisons in a query, some of which the app needs itself."""

MAX_WAIT_SECONDS = 100
"""For a busy thread; the turn gets the rest of the time that Azure allows for a response."""

_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,256}(:[0-9]{1,4})?")
"""The id of an item or response in Foundry; `:2` means after its first two messages."""


class CreateThread(Body):
    """Body of `POST /threads`."""

    metadata: Metadata = Field(default={})
    """Up to 16 pairs to find the thread by."""

    expires_in: Annotated[int, Field(ge=60, le=10 * 365 * 86_400), json_integer] | None = None
    """Seconds after which the thread is deleted."""


class PatchThread(Body):
    """Body of `PATCH /threads/{thread_id}`."""

    metadata: Annotated[
        dict[MetadataKey, MetadataText | None], Field(max_length=2 * MAX_METADATA_PAIRS)
    ]
    """Pairs to add or change; null removes one."""


class ThreadsQuery(PageQuery):
    """The query of `GET /threads`."""

    cursor: Annotated[str, last_id(Kind.THREAD), id_schema(Kind.THREAD)] | None = None
    """The `next_cursor` of the page before."""

    metadata: Annotated[
        dict[
            Annotated[str, Field(max_length=MAX_METADATA_KEY)],
            Annotated[str, Field(max_length=MAX_METADATA_TEXT)],
        ],
        Field(max_length=MAX_FILTERS),
    ] = Field(default={}, alias="metadata.")
    """Only threads with all these metadata pairs."""


class MessagesQuery(PageQuery):
    """The query of `GET /threads/{thread_id}/messages`."""

    cursor: str | None = None
    """The `next_cursor` of the page before."""


class ThreadMessageQuery(Query):
    """The query of `POST /threads/{thread_id}/messages`."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS), whole_number] = 0
    """Seconds to wait for a thread on which another turn runs."""


class ThreadDocument(Document):
    """A thread."""

    thread_id: str
    agent_id: str | None
    created_at: str
    last_accessed: str
    expires_at: str | None
    message_count: int
    """Messages sent on the thread; answers are not counted."""
    total_tokens: int
    metadata: dict[str, str]


class ThreadsPage(Document):
    """A page of threads."""

    data: list[ThreadDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last."""


class DeletingDocument(Document):
    """A thread that is still being deleted."""

    thread_id: str
    status: Literal["deleting"]


class MessageDocument(Document):
    """A message of a thread's history."""

    id: str
    role: str
    content: str
    created_at: str | None


class MessagesPage(Document):
    """A page of messages."""

    data: list[MessageDocument]
    next_cursor: str | None
    """Pass it as `cursor` to get the next, older page; null on the last."""


@dataclass(frozen=True, slots=True)
class ThreadsApi:
    """Handlers of `/threads`."""

    threads: Threads
    foundry: FoundryService
    removal: Removal
    messages: MessagesApi
    limits: OwnerLimits
    keys: IdempotencyKeys
    creation: Creation

    async def create(self, incoming: Incoming) -> Answer | Streamed:
        """Start a thread."""
        body = await incoming.body(CreateThread)
        return await self.start(keyed(incoming, body), body)

    async def start(self, request: Keyed, body: CreateThread) -> Answer | Streamed:
        """Start a thread, once per idempotency key."""

        async def act(claim: Claim | None) -> Answer:
            self.limits.new_thread(request.owner)
            thread_id = claim.id(Kind.THREAD) if claim else new_id(Kind.THREAD)
            thread = await self.creation.start(
                request.owner, thread_id, body.metadata, body.expires_in
            )
            headers = {"Location": f"{ADDRESS}/{thread.thread_id}"}
            answer = Answer(thread_document(thread), HTTPStatus.CREATED, headers)
            await self.threads.add(thread, kept(claim, answer))
            return answer

        return await once(self.keys, request, act)

    async def list_(self, incoming: Incoming) -> Answer:
        """A page of the caller's threads, newest first."""
        return Answer(await self.page(incoming.owner, incoming.parameters_as(ThreadsQuery)))

    async def page(self, owner: str, asked: ThreadsQuery) -> dict[str, Any]:
        """The document of a page of an owner's threads, newest first."""
        limit = asked.limit
        threads = await self.threads.list(
            owner, limit=limit, after=asked.cursor, metadata=asked.metadata
        )
        next_cursor = threads[-1].thread_id if len(threads) == limit else None
        return {"data": [thread_document(t) for t in threads], "next_cursor": next_cursor}

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

    async def list_messages(self, incoming: Incoming) -> Answer:
        """A page of a thread's history from Foundry, newest message first."""
        asked, thread_id = incoming.parameters_as(MessagesQuery), incoming.path["thread_id"]
        return Answer(await self.history(incoming.owner, thread_id, asked))

    async def history(self, owner: str, thread_id: str, asked: MessagesQuery) -> dict[str, Any]:
        """The document of a page of a thread's history from Foundry, newest message first.

        Raises:
            RowMissingError: if the owner has no such thread.
            ProblemError: 422 for a cursor that is not of this thread.
            FoundryError: if Foundry does not answer.
        """
        thread = await self.threads.get(owner, thread_id)
        cursor = asked.cursor
        wrong = invalid_field("cursor", "must be the next_cursor of an earlier page")
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise wrong
        page = await self.foundry.messages(_ref(thread), limit=asked.limit, cursor=cursor)
        if cursor is not None and not (thread.conversation_id or page.messages):
            raise wrong  # a chain begins with a message, so the cursor is of no page of it
        data = [message_document(message) for message in page.messages]
        return {"data": data, "next_cursor": page.next_cursor}

    async def send_message(self, incoming: Incoming) -> Answer | Streamed:
        """Answer a message on a thread; `wait` is for how many seconds to wait for a busy one."""
        wait = incoming.parameters_as(ThreadMessageQuery).wait
        if preference(incoming.request).respond_async:
            wait = 0  # a job waits for its thread anyway
        with self.limits.waiting(incoming.owner, wait):
            return await self.messages.run_turn(incoming, incoming.path["thread_id"], wait)


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
