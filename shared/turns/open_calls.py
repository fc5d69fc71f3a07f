"""Calls that a turn hands over to its caller, and that the next turn on the thread answers.

The caller answers them with the outputs of its functions, or by sending anything else, which
cancels them: every call gets an output, whichever model made it and whichever answers next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..foundry.client_calls import CANCELLED, answer_items
from ..foundry.errors import UnknownCallError
from ..foundry.models import ClientOutput, RequestKind, TurnRequest, TurnResult
from ..foundry.tools.unanswered import APPROVAL_REQUEST, asked_by, repaired
from ..foundry.wire_json import JsonObject

_CALL = "function_call"


def handed_over(result: TurnResult) -> tuple[JsonObject, ...]:
    """The calls and requests for approval that the caller is to answer, without their content."""
    calls = ({"type": _CALL, "call_id": call.call_id} for call in result.calls)
    approvals = (
        {"type": APPROVAL_REQUEST, "id": asked.id}
        for asked in result.requests
        if asked.kind is RequestKind.APPROVAL
    )
    return (*calls, *approvals)


def settled(
    request: TurnRequest, waiting: Iterable[JsonObject], *, was_sent: bool = False
) -> TurnRequest:
    """The request with an output for each call that waits for one; a missing one is cancelled.

    A request for approval without an answer is refused where it was made, in Foundry's thread.
    One that ``was_sent`` before is sent again as it is: what it answered may be answered.

    Raises:
        UnknownCallError: if it answers a call or request that does not wait, or one twice.
    """
    waiting = tuple(waiting)
    if not (waiting or request.outputs or request.approvals):
        return request
    asked = {str(asked_by(item)): item["type"] for item in waiting}
    calls = [call_id for call_id, kind in asked.items() if kind == _CALL]
    approvals = [asked_id for asked_id, kind in asked.items() if kind != _CALL]
    outputs = [output.call_id for output in request.outputs]
    if not was_sent:
        _check("outputs", outputs, calls)
        _check("approvals", [a.id for a in request.approvals], approvals)
    cancelled = (ClientOutput(call_id, CANCELLED) for call_id in calls if call_id not in outputs)
    return replace(request, outputs=(*request.outputs, *cancelled))


def _check(field: str, given: list[str], open_: list[str]) -> None:
    for number, answered in enumerate(given):
        if answered not in open_ or answered in given[:number]:
            raise UnknownCallError(
                f"'{answered[:128]}' is not open on this thread. Only what its last turn asked for "
                "can be answered, once, and before anything else is sent.",
                f"{field}.{number}",
            )


def with_history(
    request: TurnRequest, history: Iterable[JsonObject], owed: Iterable[JsonObject] = ()
) -> TurnRequest:
    """The request with ``history`` and its own outputs and approvals as items before the message.

    A call without an output gets one, and an output without a call is dropped, because the history
    may begin in the middle. An output may also answer a call of ``owed``: that call is already in
    the thread to which the request is sent.
    """
    items = [*history, *answer_items(request), *request.preceding]
    if not items:
        return request
    return replace(
        request, preceding=tuple(repaired(items, owed, CANCELLED)), outputs=(), approvals=()
    )
