"""`/threads`: making, finding, changing and deleting threads, and talking on them."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus

from ..app import Services
from ..foundry.models import ThreadRef
from ..http.documents import message_document, thread_document
from ..http.idempotency import kept, once
from ..http.queries import query
from ..http.request import MAX_PAGE_SIZE, PAGE_SIZE, Incoming, invalid_field
from ..http.serve import Answer, Streamed
from ..state.idempotency import Claim
from ..state.keys import Kind, is_id, new_id
from ..state.threads import Thread
from ..turns.contract import MAX_METADATA_KEY, MAX_METADATA_TEXT, CreateThread, PatchThread
from .messages import run_turn

MAX_FILTERS = 8
"""Table Storage takes 15 comparisons in a query, and we need some ourselves."""

MAX_WAIT_SECONDS = 100
"""For a thread in use; what is left of the time that Azure gives an answer is the turn's."""

_METADATA_FILTER = "metadata."
_FOUNDRY_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")


async def create(services: Services, incoming: Incoming) -> Answer | Streamed:
    """Start a thread."""
    body = await incoming.body(CreateThread)

    async def act(claim: Claim | None) -> Answer:
        services.limits.new_thread(incoming.owner)
        thread = await _new_thread(services, incoming.owner, body, claim)
        headers = {"Location": f"{incoming.request.url.path}/{thread.thread_id}"}
        answer = Answer(thread_document(thread), HTTPStatus.CREATED, headers)
        await services.threads.add(thread, kept(claim, answer))
        return answer

    return await once(services, incoming, body, act)


async def _new_thread(
    services: Services, owner: str, body: CreateThread, claim: Claim | None
) -> Thread:
    """A thread that has its place in Foundry, but not yet here."""
    backing = await services.foundry.create_thread(body.metadata)
    now = services.clock()
    return Thread(
        thread_id=claim.id(Kind.THREAD) if claim else new_id(Kind.THREAD),
        owner=owner,
        created_at=now,
        last_accessed=now,
        agent_id=services.settings.foundry.agent_id or None,
        metadata=body.metadata,
        conversation_id=backing.conversation_id,
        expires_at=now + timedelta(seconds=body.expires_in) if body.expires_in else None,
    )


@query("limit", "cursor", _METADATA_FILTER)
async def list_(services: Services, incoming: Incoming) -> Answer:
    """A page of the caller's threads, newest first."""
    limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    cursor = incoming.query.get("cursor")
    if cursor is not None and not is_id(Kind.THREAD, cursor):
        raise invalid_field("cursor", "must be the next_cursor of an earlier page")
    metadata = _metadata_filter(incoming)
    threads = await services.threads.list(
        incoming.owner, limit=limit, after=cursor, metadata=metadata
    )
    next_cursor = threads[-1].thread_id if len(threads) == limit else None
    return Answer({"data": [thread_document(t) for t in threads], "next_cursor": next_cursor})


def _metadata_filter(incoming: Incoming) -> dict[str, str]:
    """The pairs that `metadata.<key>=<text>` in the query ask for."""
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


async def get(services: Services, incoming: Incoming) -> Answer:
    """One thread."""
    thread = await services.threads.get(incoming.owner, incoming.path["thread_id"])
    return Answer(thread_document(thread))


async def patch(services: Services, incoming: Incoming) -> Answer:
    """Merge metadata into a thread's."""
    body = await incoming.body(PatchThread)
    thread = await services.threads.merge_metadata(
        incoming.owner, incoming.path["thread_id"], body.metadata
    )
    return Answer(thread_document(thread))


async def delete(services: Services, incoming: Incoming) -> Answer:
    """Delete a thread and all that came of it, here and in Foundry.

    202 where a long thread is still being deleted: nothing of it can be seen any more.
    """
    thread_id = incoming.path["thread_id"]
    if await services.removal.remove(incoming.owner, thread_id):
        return Answer(None, HTTPStatus.NO_CONTENT)
    return Answer({"thread_id": thread_id, "status": "deleting"}, HTTPStatus.ACCEPTED)


@query("limit", "cursor")
async def list_messages(services: Services, incoming: Incoming) -> Answer:
    """A page of a thread's history, newest message first, from Foundry."""
    limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    thread = await services.threads.get(incoming.owner, incoming.path["thread_id"])
    cursor = incoming.query.get("cursor")
    if cursor is not None and not await _is_cursor(services, thread, cursor):
        raise invalid_field("cursor", "must be the next_cursor of an earlier page")
    page = await services.foundry.messages(_backing(thread), limit=limit, cursor=cursor)
    data = [message_document(message) for message in page.messages]
    return Answer({"data": data, "next_cursor": page.next_cursor})


@query("wait")
async def send_message(services: Services, incoming: Incoming) -> Answer | Streamed:
    """Answer a message on a thread; with `wait`, as soon as the thread is free."""
    wait = incoming.integer("wait", 0, 0, MAX_WAIT_SECONDS)
    with services.limits.waiting(incoming.owner, wait):
        return await run_turn(services, incoming, incoming.path["thread_id"], wait)


async def _is_cursor(services: Services, thread: Thread, cursor: str) -> bool:
    """Whether history may be read on from here.

    Foundry reads a conversation on from its own items only. A chain of responses it reads on from
    any response, so that must be one of this thread and not of somebody else's.
    """
    if not _FOUNDRY_ID.fullmatch(cursor):
        return False
    if thread.conversation_id:
        return True
    return await services.threads.has_response(thread.owner, thread.thread_id, cursor)


def _backing(thread: Thread) -> ThreadRef:
    return ThreadRef(thread.conversation_id, thread.last_response_id)
