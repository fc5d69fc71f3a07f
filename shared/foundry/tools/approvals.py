"""Approvals: whether the service may call an MCP server's tool on the user's behalf.

Every approval request is answered, by default with a denial: an unanswered request makes the
answer an empty message, and the next turn fails.
https://learn.microsoft.com/azure/ai-foundry/agents/how-to/tools/model-context-protocol
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from pydantic import TypeAdapter, ValidationError

from ..errors import ProtocolError
from ..wire_json import JsonObject, text_at
from .calls import settle
from .unanswered import approval

log = logging.getLogger(__name__)

ApprovalCallback = Callable[[str, str, JsonObject], Awaitable[bool]]
"""``await approve(server_label, tool_name, arguments)``: True approves the call."""

_ARGUMENTS: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)


async def deny(_server_label: str, _name: str, _arguments: JsonObject) -> bool:
    """Deny every call; the default callback."""
    return False


async def answer_approvals(
    items: Iterable[JsonObject],
    approve: ApprovalCallback = deny,
    *,
    seconds: float | None = None,
) -> list[JsonObject]:
    """Make an `mcp_approval_response` for each `mcp_approval_request` in a response's output items.

    The callbacks run in parallel. A callback that raises, or that has not returned after
    ``seconds``, denies the call.

    Raises:
        ProtocolError: for an approval request without an id.
    """
    requests = [item for item in items if item.get("type") == "mcp_approval_request"]
    ids = [_id(request) for request in requests]
    tasks = [asyncio.create_task(_decide(request, approve)) for request in requests]
    await settle(tasks, seconds)
    return [
        approval(request_id, approved=_is_yes(task))
        for request_id, task in zip(ids, tasks, strict=True)
    ]


def _is_yes(task: asyncio.Task[bool]) -> bool:
    return task.done() and not task.cancelled() and task.result()


async def _decide(request: JsonObject, approve: ApprovalCallback) -> bool:
    server, name = text_at(request, "server_label") or "", text_at(request, "name") or ""
    try:
        arguments = _ARGUMENTS.validate_json(text_at(request, "arguments") or "{}")
        approved = await approve(server, name, arguments)
    except ValidationError:
        log.warning("MCP tool %s of %s denied: its arguments are not a JSON object", name, server)
        return False
    except Exception:
        log.exception("MCP tool %s of %s denied: the approval callback failed", name, server)
        return False
    log.debug("MCP tool %s of %s %s", name, server, "approved" if approved is True else "denied")
    return approved is True


def _id(request: JsonObject) -> str:
    request_id = text_at(request, "id")
    if request_id is None:
        raise ProtocolError("Foundry asked for an approval without its id.")
    return request_id
