"""Pages of lists: the query parameters and the answer."""

from collections.abc import Callable, Iterable

from starlette.responses import JSONResponse

from .errors import JsonObject, invalid
from .operation import Call
from .store import Page, PageRequest, Row, UnknownCursorError

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
DEFAULT_ORDER = "desc"


def page_request(call: Call) -> PageRequest:
    """Read `limit`, `order`, `after` and `before`; an invalid one raises a 400."""
    limit, order = call.query("limit") or str(DEFAULT_LIMIT), call.query("order") or DEFAULT_ORDER
    if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
        raise invalid(f"'limit' must be between 1 and {MAX_LIMIT}.", "limit", "invalid_parameters")
    if order not in {"asc", "desc"}:
        raise invalid("'order' must be 'asc' or 'desc'.", "order", "invalid_parameters")
    return PageRequest(int(limit), order, call.query("after"), call.query("before"))


def stored_page(call: Call, table: str, where: JsonObject) -> Page:
    """Read one page of a table; an unknown cursor raises a 400."""
    try:
        return call.service.store.page(table, page_request(call), where)
    except UnknownCursorError as error:
        param = "after" if call.query("after") == str(error) else "before"
        raise invalid(f"No item with id '{error}'.", param, "invalid_parameters") from None


def page_answer(
    page: Page, body: Callable[[Row], JsonObject] = lambda row: row["body"]
) -> JSONResponse:
    """Answer with a page of bodies."""
    return list_answer([body(row) for row in page.rows], has_more=page.has_more)


def list_answer(bodies: Iterable[JsonObject], *, has_more: bool = False) -> JSONResponse:
    """Answer with a list; the ids are empty strings if the list is empty."""
    data = list(bodies)
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else "",
            "last_id": data[-1]["id"] if data else "",
            "has_more": has_more,
        }
    )
