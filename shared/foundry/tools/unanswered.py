"""The items of a conversation that wait for our answer: function calls and requests for approval.

Without an answer, the service refuses every later message ("No tool output found for function
call"). So a turn that ends early, or a client that finds such an item, still answers it.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/function-calling
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import FoundryError, InvalidRequestError
from ..wire_json import JsonObject, text_at

ABANDONED_CALL = "The tool did not run: the turn that asked for it was interrupted."
"""Answers a call that will not be run any more."""

DENIED = "The call was not approved."

_OUTPUTS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
"""The calls that run on our side, and what answers each."""

_APPROVAL_REQUEST, _APPROVAL = "mcp_approval_request", "mcp_approval_response"

ASKING_TYPES = {*_OUTPUTS, _APPROVAL_REQUEST}
"""Items that need an answer of ours."""

ANSWER_TYPES = {*_OUTPUTS.values(), _APPROVAL}
"""Items that answer a call or a request."""

_LEFT_OPEN = ("no tool output found", "no tool call output found", "no approval response found")
"""How the service says that a conversation has a call without an answer."""


def unanswered(items: Iterable[JsonObject]) -> list[JsonObject]:
    """The calls and requests among ``items`` that nothing among them answers, in order."""
    found = list(items)
    answered = {key for item in found if (key := _answered_by(item))}
    return [item for item in found if (key := _asked_by(item)) and key not in answered]


def missing(answers: Iterable[JsonObject], items: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of our ``answers`` whose call or request nothing among ``items`` answers."""
    answered = {key for item in items if (key := _answered_by(item))}
    return [answer for answer in answers if _answered_by(answer) not in answered]


def refusal(item: JsonObject) -> JsonObject:
    """The answer to a call that will not run, or a request that is not granted."""
    if item.get("type") == _APPROVAL_REQUEST:
        return approval(str(item["id"]), approved=False)
    kind = _OUTPUTS[str(item["type"])]
    return {"type": kind, "call_id": item["call_id"], "output": ABANDONED_CALL}


def approval(request_id: str, *, approved: bool) -> JsonObject:
    """The answer to a request for approval."""
    answer: JsonObject = {
        "type": _APPROVAL,
        "approval_request_id": request_id,
        "approve": approved,
    }
    return answer if approved else {**answer, "reason": DENIED}


def blocks_the_thread(error: FoundryError) -> bool:
    """Whether a message was refused because of a call that has no answer."""
    if not isinstance(error, InvalidRequestError):
        return False
    text = error.message.lower()
    return any(words in text for words in _LEFT_OPEN)


def _asked_by(item: JsonObject) -> str | None:
    """The id that an answer to a call or request must carry."""
    if item.get("type") in _OUTPUTS:
        return text_at(item, "call_id")
    return text_at(item, "id") if item.get("type") == _APPROVAL_REQUEST else None


def _answered_by(item: JsonObject) -> str | None:
    """The call or request that an item answers; an MCP call shows that it was approved."""
    kind = item.get("type")
    if kind in _OUTPUTS.values():
        return text_at(item, "call_id")
    return text_at(item, "approval_request_id") if kind in {_APPROVAL, "mcp_call"} else None
