"""Approvals: whether an MCP server's tool may be called on the user's behalf.

Every request gets an answer, a denial by default, because one without an answer appears as an
empty message and breaks the next turn.
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
"""``await approve(server_label, tool_name, arguments)``: True lets the call happen."""

_ARGUMENTS: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)


async def deny(_server_label: str, _name: str, _arguments: JsonObject) -> bool:
    """Approve nothing; what happens where no callback is given."""
    return False


async def answer_approvals(
    items: Iterable[JsonObject],
    approve: ApprovalCallback = deny,
    *,
    seconds: float | None = None,
) -> list[JsonObject]:
    """A `mcp_approval_response` for every `mcp_approval_request` among a response's output items.

    The callback is asked for all at once. It denies by raising, too, and by not being done after
    ``seconds``.

    Raises:
        ProtocolError: for a request that has no id to answer to.
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
        log.warning("MCP tool %s of %s denied: its arguments are no JSON object", name, server)
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
