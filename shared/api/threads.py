"""`/threads`: making, finding, changing and deleting threads, and talking on them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from ..contract import CreateThread, PatchThread
from ..foundry.models import Backing, Message
from ..services import Services
from ..state.keys import Kind, is_id, new_id
from ..state.threads import MAX_METADATA_PAIRS, Thread
from .border import Answer
from .incoming import Incoming, invalid_field
from .messages import run_turn

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
_METADATA_FILTER = "metadata."


async def create(services: Services, incoming: Incoming) -> Answer:
    """Start a thread."""
    body = await incoming.body(CreateThread)
    backing = await services.foundry.create_thread(body.metadata)
    now = services.clock()
    thread = Thread(
        thread_id=new_id(Kind.THREAD),
        owner=incoming.owner,
        created_at=now,
        last_accessed=now,
        agent_id=services.settings.foundry.agent_id or None,
        metadata=body.metadata,
        conversation_id=backing.conversation_id,
        expires_at=now + timedelta(seconds=body.expires_in) if body.expires_in else None,
    )
    await services.threads.add(thread)
    headers = {"Location": f"{incoming.request.url.path}/{thread.thread_id}"}
    return Answer(thread_document(thread), HTTPStatus.CREATED, headers)


async def list_(services: Services, incoming: Incoming) -> Answer:
    """A page of the caller's threads, newest first."""
    limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    cursor = incoming.query.get("cursor")
    if cursor is not None and not is_id(Kind.THREAD, cursor):
        raise invalid_field("cursor", "must be the next_cursor of an earlier page")
    metadata = {
        name.removeprefix(_METADATA_FILTER): text
        for name, text in incoming.query.items()
        if name.startswith(_METADATA_FILTER)
    }
    if len(metadata) > MAX_METADATA_PAIRS:
        raise invalid_field(_METADATA_FILTER, f"can filter by {MAX_METADATA_PAIRS} pairs at most")
    threads = await services.threads.list(
        incoming.owner, limit=limit, after=cursor, metadata=metadata
    )
    next_cursor = threads[-1].thread_id if len(threads) == limit else None
    return Answer({"data": [thread_document(t) for t in threads], "next_cursor": next_cursor})


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
    """Delete a thread, in Foundry first; one already gone there still goes here."""
    thread = await services.threads.start_removal(incoming.owner, incoming.path["thread_id"])
    await services.foundry.delete_thread(_backing(thread))
    await services.threads.finish_removal(thread)
    return Answer(None, HTTPStatus.NO_CONTENT)


async def list_messages(services: Services, incoming: Incoming) -> Answer:
    """A page of a thread's history, newest message first, from Foundry."""
    limit = incoming.integer("limit", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    thread = await services.threads.get(incoming.owner, incoming.path["thread_id"])
    page = await services.foundry.messages(
        _backing(thread), limit=limit, cursor=incoming.query.get("cursor")
    )
    data = [_message_document(message) for message in page.messages]
    return Answer({"data": data, "next_cursor": page.next_cursor})


async def send_message(services: Services, incoming: Incoming) -> Answer:
    """Answer a message on a thread."""
    return await run_turn(services, incoming, incoming.path["thread_id"])


def _backing(thread: Thread) -> Backing:
    return Backing(thread.conversation_id, thread.last_response_id)


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


def _message_document(message: Message) -> dict[str, Any]:
    return {**asdict(message), "created_at": _moment(message.created_at)}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
