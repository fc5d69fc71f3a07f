"""The declaration of the MCP face's route."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from ..documents import Document, JsonObject
from ..http.operation import BUDGET_WARNING, REPLAYED, Header, Operation, Result, Tag
from ..turns.body import Body
from .jsonrpc import MAX_ID_CHARS
from .revisions import METHOD_HEADER, NAME_HEADER, STATELESS, VERSION_HEADER

EVENT_STREAM = "text/event-stream"

HEADERS = (
    Header(VERSION_HEADER, "The revision of the protocol.", STATELESS),
    Header(METHOD_HEADER, "The method, as in the body; required from 2026-07-28 on.", "tools/call"),
    Header(NAME_HEADER, "The tool, as in the body; required from 2026-07-28 on.", "ask_agent"),
)


class McpMessage(Body):
    """A JSON-RPC request or notification."""

    jsonrpc: Literal["2.0"]
    """Always `2.0`."""

    id: Annotated[str, Field(max_length=MAX_ID_CHARS)] | int | None = None
    """Your id of the request; a notification has none."""

    method: str
    """For example `tools/list` or `tools/call`."""

    params: dict[str, Any] = Field(default={})
    """Of a call: `name`, `arguments`, and `_meta` with what the revision requires."""


class McpAnswer(Document):
    """The answer to a JSON-RPC request, with a result or an error."""

    jsonrpc: str
    id: str | int
    result: NotRequired[JsonObject]
    """Of a call: `content`, `structuredContent` and `isError`."""
    error: NotRequired[JsonObject]


class McpEvent(Document):
    """An event of a stream."""

    data: str
    """A JSON-RPC message: a report of progress, or the answer, which comes last."""


class McpFault(Document):
    """A JSON-RPC error."""

    jsonrpc: str
    id: NotRequired[str | int]
    """Missing if it could not be read."""
    error: JsonObject
    """`code`, `message` and, for an unknown revision, `data` with those supported."""


FAULT = "The protocol does not allow the message."

SEND_MCP_MESSAGE = Operation(
    id="sendMcpMessage",
    tag=Tag.MCP,
    summary="Send a message of the Model Context Protocol",
    description=(
        "Tools for agents and editors: `tools/list` returns them with their schemas, `tools/call` "
        "calls one. There are no sessions. What a tool refuses is a result with `isError`; other "
        "problems concern the request itself."
    ),
    body=McpMessage,
    headers=HEADERS,
    results={
        HTTPStatus.OK: Result(
            meaning="The answer; `ask_agent` streams it, with reports of its progress before it.",
            document=McpAnswer,
            also={EVENT_STREAM: McpEvent},
            headers=(REPLAYED, BUDGET_WARNING),
        ),
        HTTPStatus.ACCEPTED: Result(meaning="The notification is accepted."),
        HTTPStatus.BAD_REQUEST: Result(meaning=FAULT, document=McpFault),
        HTTPStatus.NOT_FOUND: Result(meaning="There is no such method.", document=McpFault),
    },
)
