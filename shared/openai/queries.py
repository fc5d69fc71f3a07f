"""The queries of the face; parameters that it does not know are ignored, such as `api-version`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..http.query import MAX_PAGE_SIZE, PAGE_SIZE, Boolean, Query, whole_number

MAX_ID_CHARS = 256
MAX_NUMBER = 10_000_000


class OpenQuery(Query):
    """A query without parameters of its own."""

    ignores_unknown: ClassVar[bool] = True


class ResponseQuery(OpenQuery):
    """The query of `GET /responses/{response_id}`."""

    stream: Boolean = False
    """Answer with the events of the response."""

    starting_after: Annotated[int, Field(ge=0, le=MAX_NUMBER), whole_number] | None = None
    """With `stream`: the number of the last event that you have; later ones follow."""


class ItemsQuery(OpenQuery):
    """The query of a list of items."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE), whole_number] = PAGE_SIZE
    """The most items of the page."""

    order: Literal["asc", "desc"] = "desc"
    """Oldest first, or newest first."""

    after: Annotated[str, Field(max_length=MAX_ID_CHARS)] | None = None
    """The id of the last item of the page before."""
