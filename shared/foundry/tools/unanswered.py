"""The items of a conversation that need an answer from this app: function calls and approvals.

While an item has no answer, the service refuses every later message ("No tool output found for
function call"). So a turn that ends early answers its items, and so does a turn that finds such an
item of an earlier one.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/function-calling
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import FoundryError, InvalidRequestError
from ..wire_json import JsonObject, text_at

ABANDONED_CALL = "The tool did not run: the turn that asked for it was interrupted."
"""The output of a call that will not run."""

DENIED = "The call was not approved."

_OUTPUTS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
"""The item types of calls that run in this app, and the item types of their outputs."""

APPROVAL_REQUEST = "mcp_approval_request"
_APPROVAL = "mcp_approval_response"

ASKING_TYPES = {*_OUTPUTS, APPROVAL_REQUEST}
"""The types of items that need an answer from this app."""

ANSWER_TYPES = {*_OUTPUTS.values(), _APPROVAL}
"""The types of items that answer a call or an approval request."""

_LEFT_OPEN = ("no tool output found", "no tool call output found", "no approval response found")
"""Parts of the error messages about a call or an approval request that has no answer."""


def unanswered(items: Iterable[JsonObject]) -> list[JsonObject]:
    """The calls and approval requests in ``items`` that have no answer there, in order."""
    found = list(items)
    answered = {key for item in found if (key := answered_by(item))}
    return [item for item in found if (key := asked_by(item)) and key not in answered]


def missing(answers: Iterable[JsonObject], items: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of ``answers`` whose call or approval request has no answer in ``items`` yet."""
    answered = {key for item in items if (key := answered_by(item))}
    return [answer for answer in answers if answered_by(answer) not in answered]


def repaired(
    items: Iterable[JsonObject], owed: Iterable[JsonObject], reason: str
) -> list[JsonObject]:
    """``items`` in which each call has an output, and each output one call before it.

    An output may also answer a call that the answers ``owed`` belong to. A call without an output
    is refused for ``reason``.
    """
    given = list(items)
    open_ = {answered_by(answer) for answer in owed}
    unpaired = {asked_by(item) for item in unanswered(given)}
    kept: list[JsonObject] = []
    for item in given:
        if item.get("type") in ANSWER_TYPES:
            if (key := answered_by(item)) not in open_:
                continue
            open_.discard(key)
        kept.append(item)
        if key := asked_by(item):
            if key in unpaired:
                kept.append(refusal(item, reason))
            else:
                open_.add(key)
    return kept


def refusal(item: JsonObject, reason: str = ABANDONED_CALL) -> JsonObject:
    """The answer to a call that will not run, or a denial of an approval request."""
    if item.get("type") == APPROVAL_REQUEST:
        return approval(str(item["id"]), approved=False)
    kind = _OUTPUTS[str(item["type"])]
    return {"type": kind, "call_id": item["call_id"], "output": reason}


def approval(request_id: str, *, approved: bool) -> JsonObject:
    """The answer to an approval request."""
    answer: JsonObject = {
        "type": _APPROVAL,
        "approval_request_id": request_id,
        "approve": approved,
    }
    return answer if approved else {**answer, "reason": DENIED}


def blocks_the_thread(error: FoundryError) -> bool:
    """Whether a message was refused because a call or an approval request has no answer."""
    if not isinstance(error, InvalidRequestError):
        return False
    text = error.message.lower()
    return any(words in text for words in _LEFT_OPEN)


def asked_by(item: JsonObject) -> str | None:
    """The id by which an answer refers to a call or approval request; None for other items."""
    if item.get("type") in _OUTPUTS:
        return text_at(item, "call_id")
    return text_at(item, "id") if item.get("type") == APPROVAL_REQUEST else None


def answered_by(item: JsonObject) -> str | None:
    """The id of the call or approval request that an item answers; an MCP call was approved."""
    kind = item.get("type")
    if kind in _OUTPUTS.values():
        return text_at(item, "call_id")
    return text_at(item, "approval_request_id") if kind in {_APPROVAL, "mcp_call"} else None
