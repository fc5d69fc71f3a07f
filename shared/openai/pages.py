"""Pages of items."""

from __future__ import annotations

from typing import Literal

from ..documents import Document, JsonObject
from ..http.field_errors import invalid_field
from .queries import ItemsQuery


class ItemsPage(Document):
    """A page of items."""

    object: Literal["list"]
    data: list[JsonObject]
    first_id: str | None
    last_id: str | None
    """Pass it as `after` to get the next page."""
    has_more: bool


class DeletedDocument(Document):
    """An object that was deleted."""

    id: str
    object: str
    deleted: bool


def page_of_items(items: list[JsonObject], asked: ItemsQuery) -> JsonObject:
    """A page of a list, given all its items, oldest first.

    Raises:
        ProblemError: if `after` is none of them.
    """
    ordered = items if asked.order == "asc" else items[::-1]
    if asked.after is not None:
        ids = [item["id"] for item in ordered]
        if asked.after not in ids:
            raise invalid_field("after", "must be the id of an item of the page before")
        ordered = ordered[ids.index(asked.after) + 1 :]
    return item_page(ordered[: asked.limit], has_more=len(ordered) > asked.limit)


def item_page(data: list[JsonObject], *, has_more: bool) -> JsonObject:
    """A page of items."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
