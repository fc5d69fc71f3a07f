"""Operations on responses."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import JSONResponse, Response

from local.model import LanguageModel, ModelError

from .cut import cut
from .errors import ApiError, invalid
from .faults import FAILING, FaultKind
from .operation import Call
from .paging import list_answer, page_answer, page_request, stored_page
from .planning import find_response, make_plan
from .requests import ResponseCreate, parse
from .sse import stream
from .turns import TERMINAL, Plan, Turn

_STREAM_FAULTS = {
    FaultKind.CUT_STREAM,
    FaultKind.MALFORMED_EVENT,
    FaultKind.NO_TERMINAL,
    FaultKind.GZIP,
    *FAILING,
}
DISCONNECT_POLL_SECONDS = 0.2


async def create(call: Call, model: LanguageModel) -> Response:
    """POST /responses: a JSON object, or a stream of events."""
    wanted = parse(ResponseCreate, call.body)
    wanted.check()
    turns = call.service.turns
    turns.lock(wanted.conversation_id)
    try:
        turn = turns.start(await make_plan(call, wanted, model, call.fault))
    except ModelError as error:
        turns.unlock(wanted.conversation_id)
        raise ApiError(503, "server_error", str(error)) from error
    except BaseException:
        turns.unlock(wanted.conversation_id)
        raise
    _remember_agent(call, turn.plan)
    if call.fault is not None and call.fault.kind is FaultKind.USER_ITEM_THEN_DROP:
        return await cut(call.request)
    response = await _deliver(call, wanted, turn)
    response.headers.update(call.service.rate.headers(str(turn.body["model"])))
    if call.fault is not None:
        response.headers.update(call.fault.headers)
    return response


async def get(call: Call) -> Response:
    """GET /responses/{id}, also as a stream that resumes after an event."""
    row = find_response(call, call.path("response_id"))
    turn = call.service.turns.live(row["id"])
    if call.query("stream") != "true":
        return JSONResponse(turn.body if turn else row["body"])
    if not row["streamed"]:
        text = "Only a response created with 'background' and 'stream' can be streamed again."
        raise invalid(text, "stream", "invalid_parameters")
    after = _starting_after(call)
    events = turn.follow(after) if turn else _replay(row["events"] or [], after)
    return stream(call.request, events, call.fault)


async def delete(call: Call) -> Response:
    """DELETE /responses/{id}."""
    response_id = find_response(call, call.path("response_id"))["id"]
    if call.service.turns.live(response_id) is not None:
        raise invalid("Cannot delete a response in progress.", None, "invalid_request_error")
    call.service.store.delete("responses", id=response_id)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


async def cancel(call: Call) -> Response:
    """POST /responses/{id}/cancel."""
    row = find_response(call, call.path("response_id"))
    if not row["body"]["background"]:
        text = "Cannot cancel a synchronous response."
        raise invalid(text, "response_id", "invalid_request_error")
    turn = call.service.turns.live(row["id"])
    if turn is not None:
        await call.service.turns.cancel(turn)
        return JSONResponse(turn.body)
    if row["status"] in TERMINAL - {"cancelled"}:
        text = f"Cannot cancel a response whose status is '{row['status']}'."
        raise invalid(text, "response_id", "invalid_request_error")
    return JSONResponse(row["body"])


async def list_input_items(call: Call) -> Response:
    """GET /responses/{id}/input_items."""
    given = find_response(call, call.path("response_id"))["input"]
    page = page_request(call)
    ordered = given if page.order == "asc" else given[::-1]
    ids = [item["id"] for item in ordered]
    for name, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None and cursor not in ids:
            raise invalid(f"No item with id '{cursor}'.", name, "invalid_parameters")
    start = ids.index(page.after) + 1 if page.after else 0
    end = ids.index(page.before) if page.before else len(ids)
    chosen = ordered[start:end]
    return list_answer(chosen[: page.limit], has_more=len(chosen) > page.limit)


async def list_all(call: Call) -> Response:
    """GET /responses."""
    names = ("agent_name", "agent_id", "conversation_id")
    where = {name: call.query(name) for name in names}
    return page_answer(stored_page(call, "responses", {**where, "owner": call.owner}))


async def _deliver(call: Call, wanted: ResponseCreate, turn: Turn) -> Response:
    is_whole = call.fault is not None and call.fault.kind is FaultKind.WHOLE
    if wanted.stream and not is_whole:
        fault = call.fault if call.fault and call.fault.kind in _STREAM_FAULTS else None
        return stream(call.request, _followed(call, turn), fault)
    if wanted.background:
        return JSONResponse(turn.body)
    await _finished(call, turn)
    return JSONResponse(turn.body)


async def _followed(call: Call, turn: Turn) -> AsyncGenerator[str | None]:
    """Stream a turn; stop it if the client disconnects and the answer is not stored."""
    try:
        async with aclosing(turn.follow()) as events:
            async for event in events:
                yield event
                if _is_discarded(turn.plan) and await call.request.is_disconnected():
                    break
    finally:
        await _stop_if_discarded(call, turn)


async def _finished(call: Call, turn: Turn) -> None:
    """Wait for the answer; stop it if the client disconnects and the answer is not stored."""
    if not _is_discarded(turn.plan):
        await turn.wait_finished()
        return
    finished = asyncio.ensure_future(turn.wait_finished())
    try:
        while not finished.done():
            await asyncio.wait([finished], timeout=DISCONNECT_POLL_SECONDS)
            if await call.request.is_disconnected():
                break
    finally:
        finished.cancel()
        await _stop_if_discarded(call, turn)


async def _stop_if_discarded(call: Call, turn: Turn) -> None:
    if _is_discarded(turn.plan) and not turn.finished:
        await call.service.turns.cancel(turn)


def _is_discarded(plan: Plan) -> bool:
    return not plan.store and plan.conversation_id is None


def _starting_after(call: Call) -> int:
    text = call.query("starting_after") or "-1"
    if not text.removeprefix("-").isdecimal():
        raise invalid("'starting_after' must be a number.", "starting_after", "invalid_parameters")
    return int(text)


async def _replay(events: list[object], after: int) -> AsyncGenerator[str | None]:
    for event in events[after + 1 :]:
        yield json.dumps(event)


def _remember_agent(call: Call, plan: Plan) -> None:
    """Record the last agent of a conversation, for the filters of the list."""
    agent = plan.body["agent_reference"]
    if agent is not None and plan.conversation_id is not None:
        agent_id = f"{agent['name']}:{agent['version']}"
        where = {"id": plan.conversation_id}
        call.service.store.update(
            "conversations", where, agent_name=agent["name"], agent_id=agent_id
        )
