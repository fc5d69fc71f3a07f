"""Calls of the MCP face as clients of each revision send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

STATELESS = "2026-07-28"
WITH_HANDSHAKE = ("2025-11-25", "2025-06-18", "2025-03-26")
REVISIONS = (STATELESS, *WITH_HANDSHAKE)
BOTH_KINDS = (STATELESS, WITH_HANDSHAKE[0])
PREFIX = "io.modelcontextprotocol/"
JSON, STREAM = "application/json", "application/json, text/event-stream"


async def rpc(
    caller: httpx.AsyncClient,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    revision: str = STATELESS,
    accept: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """A request as a client of the revision sends it."""
    params = dict(params or {})
    sent = {"Accept": accept, "MCP-Protocol-Version": revision}
    if revision == STATELESS:
        own = {f"{PREFIX}protocolVersion": revision, f"{PREFIX}clientCapabilities": {}}
        params["_meta"] = {**own, **params.get("_meta", {})}
        sent["Mcp-Method"] = method
        if "name" in params:
            sent["Mcp-Name"] = params["name"]
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return await caller.post("mcp", json=body, headers={**sent, **(headers or {})})


async def result(caller: httpx.AsyncClient, method: str, **named: Any) -> dict[str, Any]:
    answer = await rpc(caller, method, **named)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["jsonrpc"], document["id"]) == ("2.0", 7)
    return document["result"]


async def call(
    caller: httpx.AsyncClient, tool: str, /, revision: str = STATELESS, **arguments: Any
) -> dict[str, Any]:
    """The result of a call of a tool."""
    params = {"name": tool, "arguments": arguments}
    return await result(caller, "tools/call", params=params, revision=revision)


async def schemas(caller: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The schemas of what the tools return."""
    tools = (await result(caller, "tools/list"))["tools"]
    return {tool["name"]: tool["outputSchema"] for tool in tools}


def last_event(answer: httpx.Response) -> dict[str, Any]:
    """The result of a streamed call."""
    last = answer.text.strip().rpartition("\n\n")[2]
    return json.loads(last.removeprefix("data: "))["result"]


async def streamed(
    caller: httpx.AsyncClient, tool: str, /, revision: str = STATELESS, **arguments: Any
) -> dict[str, Any]:
    """The result of a call that may be answered as a stream."""
    params = {"name": tool, "arguments": arguments}
    answer = await rpc(caller, "tools/call", params, revision=revision, accept=STREAM)
    assert answer.status_code == 200, answer.text
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    return last_event(answer) if is_stream else answer.json()["result"]


def refusal(result: dict[str, Any]) -> dict[str, Any]:
    """The problem of a call that was refused."""
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    return json.loads(result["content"][0]["text"])
