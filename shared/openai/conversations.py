"""`/conversations`: threads of the app, under the names that OpenAI's clients use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field
from ulid import ULID

from ..documents import Document, JsonObject
from ..foundry.service import FoundryService
from ..http.answers import Answer, Streamed
from ..http.field_errors import invalid_field
from ..http.idempotency import kept, keyed, once
from ..http.request import Incoming
from ..metering.owner_limits import OwnerLimits
from ..state.errors import RowMissingError
from ..state.idempotency import Claim, IdempotencyKeys
from ..state.keys import Kind, new_id, newest_first
from ..state.lanes import UNSETTLED, Lanes
from ..state.table import Value
from ..state.threads import Thread, Threads
from ..threads.creation import Creation
from ..threads.removal import Removal
from ..turns.body import Metadata
from .fields import Open, ignored_header, ignored_in, unsupported
from .items import InputItem, ReadItems, Reference, read_items
from .pages import item_page
from .queries import ItemsQuery
from .response_wire import created_at, ulid_of
from .sealed_ids import foundry_id, sealed_id

MAX_ADDED = 20
"""Items in one request, as many as the service takes."""

_NO_CONVERSATIONS = "the endpoint of this app stores no conversations"
_SHOWN = {"message", "function_call", "function_call_output"}
"""Types of items that callers see; tools that Foundry runs have others."""


class ConversationCreate(Open):
    """Body of `POST /conversations`."""

    items: list[InputItem] | None = Field(default=None, max_length=MAX_ADDED)
    metadata: Metadata | None = None


class ConversationUpdate(Open):
    """Body of `POST /conversations/{conversation_id}`."""

    metadata: Metadata


class ItemsCreate(Open):
    """Body of `POST /conversations/{conversation_id}/items`."""

    without_effect: ClassVar[Mapping[str, tuple[Any, ...]]] = {"include": ([],)}

    items: list[InputItem] = Field(min_length=1, max_length=MAX_ADDED)


class ConversationDocument(Document):
    """A conversation."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


def thread_of(conversation_id: str) -> str:
    """The id of the thread of a conversation.

    Raises:
        RowMissingError: if that is no id of a conversation.
    """
    kind, _, ulid = conversation_id.partition("_")
    if kind != "conv":
        raise RowMissingError(f"{conversation_id!r} is not the id of a conversation.")
    return f"{Kind.THREAD}_{ulid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationsApi:
    """Handlers of `/conversations`."""

    threads: Threads
    lanes: Lanes
    creation: Creation
    removal: Removal
    foundry: FoundryService
    limits: OwnerLimits
    keys: IdempotencyKeys

    async def create(self, incoming: Incoming) -> Answer | Streamed:
        """Start a conversation, which may have items already."""
        body = await incoming.body(ConversationCreate)
        read = _read(body.items or [])

        async def act(claim: Claim | None) -> Answer:
            self.limits.new_thread(incoming.owner)
            thread_id = claim.id(Kind.THREAD) if claim else new_id(Kind.THREAD)
            thread = await self.creation.start(incoming.owner, thread_id, body.metadata or {})
            if items := _items_of(read):
                added = await self.foundry.add_items(_conversation(thread, "items"), items)
                thread = replace(thread, last_item_id=added[-1]["id"])
            ignored = ignored_header([*ignored_in(body), *read.ignored])
            answer = Answer(_document(thread), headers=ignored)
            await self.threads.add(thread, kept(claim, answer))
            return answer

        return await once(self.keys, keyed(incoming, body), act)

    async def _thread(self, incoming: Incoming) -> Thread:
        thread_id = thread_of(incoming.path["conversation_id"])
        return await self.threads.get(incoming.owner, thread_id)

    async def get(self, incoming: Incoming) -> Answer:
        """One conversation."""
        return Answer(_document(await self._thread(incoming)))

    async def update(self, incoming: Incoming) -> Answer:
        """Replace the metadata of a conversation."""
        body = await incoming.body(ConversationUpdate)
        thread = await self._thread(incoming)
        removed = dict.fromkeys(thread.metadata.keys() - body.metadata.keys())
        pairs = {**removed, **body.metadata}
        return Answer(
            _document(await self.threads.merge_metadata(incoming.owner, thread.thread_id, pairs)),
            headers=ignored_header(ignored_in(body)),
        )

    async def delete(self, incoming: Incoming) -> Answer:
        """Delete a conversation with its items, responses and jobs, here and in Foundry."""
        conversation_id = incoming.path["conversation_id"]
        await self.removal.remove(incoming.owner, thread_of(conversation_id))
        return Answer({"id": conversation_id, "object": "conversation.deleted", "deleted": True})

    async def list_items(self, incoming: Incoming) -> Answer:
        """A page of the items of a conversation."""
        asked = incoming.parameters_as(ItemsQuery)
        thread = await self._thread(incoming)
        if thread.conversation_id is None:
            return Answer(item_page([], has_more=False))
        after = None
        if asked.after is not None and (after := foundry_id(thread.thread_id, asked.after)) is None:
            raise invalid_field("after", "must be the id of an item of the page before")
        items, has_more = await self.foundry.items(
            thread.conversation_id, limit=asked.limit, order=asked.order, after=after
        )
        return Answer(item_page(_shown(thread, items), has_more=has_more))

    async def add_items(self, incoming: Incoming) -> Answer | Streamed:
        """Add items to a conversation on which no turn runs."""
        body = await incoming.body(ItemsCreate)
        thread, read = await self._thread(incoming), _read(body.items)
        items = _items_of(read)

        async def act(_: Claim | None) -> Answer:
            added = await self._change(thread, items) if items else []
            page = item_page(_shown(thread, added), has_more=False)
            return Answer(page, headers=ignored_header([*ignored_in(body), *read.ignored]))

        return await once(self.keys, keyed(incoming, body), act)

    async def _change(self, thread: Thread, items: Sequence[JsonObject]) -> list[JsonObject]:
        """Add items as the only writer of the conversation."""
        conversation_id = _conversation(thread, "items")
        row_key = newest_first(thread.thread_id)
        lease = await self.lanes.take(thread.owner, row_key, f"{Kind.TURN}_{ULID()}")
        try:
            added = await self.foundry.add_items(conversation_id, items)
        except BaseException:
            await self.lanes.release(lease, {UNSETTLED: True})  # the next turn looks what is there
            raise
        await self.lanes.release(lease, {"last_item_id": added[-1]["id"]})
        return added

    async def get_item(self, incoming: Incoming) -> Answer:
        """One item of a conversation."""
        thread, item_id = await self._thread(incoming), incoming.path["item_id"]
        found = await self.foundry.item(_conversation(thread, "item_id"), _known(thread, item_id))
        if found is None or not (items := _shown(thread, [found])):
            raise RowMissingError(f"There is no item {item_id!r}.")
        return Answer(items[0])

    async def delete_item(self, incoming: Incoming) -> Answer:
        """Delete one item of a conversation on which no turn runs."""
        thread, item_id = await self._thread(incoming), incoming.path["item_id"]
        conversation_id, known = _conversation(thread, "item_id"), _known(thread, item_id)
        row_key = newest_first(thread.thread_id)
        lease = await self.lanes.take(thread.owner, row_key, f"{Kind.TURN}_{ULID()}")
        values: dict[str, Value] = {UNSETTLED: True}
        try:
            is_deleted = await self.foundry.delete_item(conversation_id, known)
            newest = await self.foundry.last_item_id(conversation_id)
            values = {"last_item_id": newest or ""}
        finally:
            await self.lanes.release(lease, values)
        if not is_deleted:
            raise RowMissingError(f"There is no item {item_id!r}.")
        return Answer(_document(await self.threads.get(incoming.owner, thread.thread_id)))


def _read(given: list[InputItem]) -> ReadItems:
    read = read_items(given, "items")
    if any(isinstance(item, Reference) for item in read.items):
        raise unsupported("items", "an item_reference cannot be added; send the item itself")
    return read


def _items_of(read: ReadItems) -> list[JsonObject]:
    return [item for item in read.items if not isinstance(item, Reference)]


def _conversation(thread: Thread, field: str) -> str:
    if thread.conversation_id is None:
        raise unsupported(field, _NO_CONVERSATIONS)
    return thread.conversation_id


def _known(thread: Thread, item_id: str) -> str:
    known = foundry_id(thread.thread_id, item_id)
    if known is None:
        raise RowMissingError(f"There is no item {item_id!r}.")
    return known


def _document(thread: Thread) -> JsonObject:
    document: ConversationDocument = {
        "id": f"conv_{ulid_of(thread.thread_id)}",
        "object": "conversation",
        "created_at": created_at(thread.thread_id),
        "metadata": dict(thread.metadata),
    }
    return {**document}


def _shown(thread: Thread, items: Sequence[JsonObject]) -> list[JsonObject]:
    """Items as callers see them, without Foundry's ids; those of its own tools are left out."""
    return [_item(thread, each) for each in items if each.get("type") in _SHOWN]


_MEMBERS = ("type", "status", "role", "content", "call_id", "name", "arguments", "output")


def _item(thread: Thread, item: JsonObject) -> JsonObject:
    known = {name: item[name] for name in _MEMBERS if name in item}
    kind = str(item["type"])
    return {
        "id": sealed_id(thread.thread_id, kind, str(item["id"])),
        "status": "completed",
        **known,
    }
