"""Operations on conversations and their items."""

import sqlite3
import time

from starlette.responses import JSONResponse, Response

from .errors import JsonObject, invalid, not_found
from .ids import is_well_formed, new_id
from .items import normalize
from .operation import Call, Surface
from .paging import list_answer, page_answer, stored_page
from .requests import ConversationCreate, ConversationUpdate, ItemsCreate, parse
from .store import Row


def find_conversation(call: Call, conversation_id: str, param: str | None = None) -> Row:
    """Return the caller's conversation; raises 400 for a malformed id, 404 for an unknown one."""
    if not is_well_formed(conversation_id, "conv"):
        raise invalid(f"Malformed identifier: '{conversation_id}'.", param, "invalid_parameters")
    row = call.service.store.find("conversations", id=conversation_id, owner=call.owner)
    if row is None:
        raise not_found("Conversation", conversation_id, param)
    return row


async def create(call: Call) -> Response:
    """POST /conversations."""
    wanted = parse(ConversationCreate, call.body)
    items = normalize(wanted.items or [], strict=_strict(call), param="items")
    conversation_id = new_id("conv")
    conversation = {
        "id": conversation_id,
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": wanted.metadata or {},
    }
    store = call.service.store
    store.insert("conversations", id=conversation_id, owner=call.owner, body=conversation)
    _append(call, conversation_id, items)
    return JSONResponse(conversation)


async def get(call: Call) -> Response:
    """GET /conversations/{id}."""
    return JSONResponse(find_conversation(call, call.path("conversation_id"))["body"])


async def update(call: Call) -> Response:
    """POST /conversations/{id}."""
    row = find_conversation(call, call.path("conversation_id"))
    wanted = parse(ConversationUpdate, call.body)
    conversation = {**row["body"], "metadata": wanted.metadata or {}}
    call.service.store.update("conversations", {"id": row["id"]}, body=conversation)
    return JSONResponse(conversation)


async def delete(call: Call) -> Response:
    """DELETE /conversations/{id}."""
    conversation_id = find_conversation(call, call.path("conversation_id"))["id"]
    call.service.store.delete("conversations", id=conversation_id)
    call.service.store.delete("items", conversation_id=conversation_id)
    return JSONResponse({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


async def list_all(call: Call) -> Response:
    """GET /conversations."""
    where = {name: call.query(name) for name in ("agent_name", "agent_id")}
    return page_answer(stored_page(call, "conversations", {**where, "owner": call.owner}))


async def create_items(call: Call) -> Response:
    """POST /conversations/{id}/items."""
    conversation_id = find_conversation(call, call.path("conversation_id"))["id"]
    wanted = parse(ItemsCreate, call.body)
    items = normalize(wanted.items, strict=_strict(call), param="items")
    _append(call, conversation_id, items)
    return list_answer(items)


async def list_items(call: Call) -> Response:
    """GET /conversations/{id}/items."""
    conversation_id = find_conversation(call, call.path("conversation_id"))["id"]
    where = {"conversation_id": conversation_id, "item_type": call.query("item_type")}
    return page_answer(stored_page(call, "items", where))


async def get_item(call: Call) -> Response:
    """GET /conversations/{id}/items/{item_id}."""
    return JSONResponse(_find_item(call)["body"])


async def delete_item(call: Call) -> Response:
    """DELETE /conversations/{id}/items/{item_id}, which answers with the conversation."""
    row = _find_item(call)
    call.service.store.delete("items", conversation_id=row["conversation_id"], id=row["id"])
    return JSONResponse(find_conversation(call, row["conversation_id"])["body"])


def _find_item(call: Call) -> Row:
    conversation_id = find_conversation(call, call.path("conversation_id"))["id"]
    item_id = call.path("item_id")
    row = call.service.store.find("items", conversation_id=conversation_id, id=item_id)
    if row is None:
        raise not_found("Item", item_id)
    return row


def _append(call: Call, conversation_id: str, items: list[JsonObject]) -> None:
    try:
        call.service.store.add_items(conversation_id, items)
    except sqlite3.IntegrityError:
        text = "An item with the same id is already in the conversation."
        raise invalid(text, "items", "invalid_parameters") from None


def _strict(call: Call) -> bool:
    return call.surface is Surface.PROJECT
