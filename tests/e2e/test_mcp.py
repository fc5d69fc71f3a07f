"""The MCP face as its clients use it: both kinds of revisions, every tool, and what is refused."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.support.asking import ended
from tests.support.mcp_calls import (
    BOTH_KINDS,
    JSON,
    REVISIONS,
    STATELESS,
    STREAM,
    WITH_HANDSHAKE,
    call,
    refusal,
    result,
    rpc,
    schemas,
)

NAMES = [
    "ask_agent",
    "start_thread",
    "list_threads",
    "get_messages",
    "submit_job",
    "get_job",
    "cancel_job",
    "list_jobs",
    "usage",
]
ALTERNATIVES = {"anyOf", "allOf", "oneOf", "$ref"}


def members(schema: Any) -> set[str]:
    """The names of all members at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in members(each)}
    if not isinstance(schema, dict):
        return set()
    return {*schema, *(name for each in schema.values() for name in members(each))}


def error_of(answer: httpx.Response) -> int:
    return answer.json()["error"]["code"]


@pytest.mark.parametrize("revision", WITH_HANDSHAKE)
async def test_a_client_of_an_earlier_revision_begins(
    caller: httpx.AsyncClient, revision: str
) -> None:
    asked = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "a"}}
    begun = await rpc(caller, "initialize", asked, revision=revision)
    assert "mcp-session-id" not in begun.headers
    settled = begun.json()["result"]
    assert (settled["protocolVersion"], settled["capabilities"]) == (revision, {"tools": {}})
    assert settled["serverInfo"]["name"] == "agent-operating-system"
    noted = await caller.post("mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (noted.status_code, noted.content) == (202, b"")
    assert await result(caller, "ping", revision=revision) == {}
    unknown = await rpc(caller, "server/discover", revision=revision)
    assert (unknown.status_code, error_of(unknown)) == (200, -32601)


async def test_a_client_of_an_unknown_revision_is_offered_the_newest_that_begins_so(
    caller: httpx.AsyncClient,
) -> None:
    asked = {"protocolVersion": "2099-01-01", "capabilities": {}}
    settled = await result(caller, "initialize", params=asked, revision=WITH_HANDSHAKE[0])
    assert settled["protocolVersion"] == WITH_HANDSHAKE[0]


async def test_a_stateless_client_discovers(caller: httpx.AsyncClient) -> None:
    found = await result(caller, "server/discover")
    assert found["supportedVersions"] == list(REVISIONS)
    assert found["resultType"] == "complete"
    assert found["ttlMs"] > 0
    for method in ("ping", "initialize", "prompts/list"):
        answer = await rpc(caller, method)
        assert (answer.status_code, error_of(answer)) == (404, -32601)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_tools_have_a_fixed_order_and_plain_schemas(
    caller: httpx.AsyncClient, revision: str
) -> None:
    tools = (await result(caller, "tools/list", revision=revision))["tools"]
    assert [tool["name"] for tool in tools] == NAMES
    for tool in tools:
        assert tool["description"], tool["name"]
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            assert schema["type"] == "object"
            jsonschema_rs.meta.validate(schema)
            assert members(schema) & ALTERNATIVES == set(), tool["name"]


@pytest.mark.parametrize("revision", BOTH_KINDS)
async def test_every_tool_answers_what_its_schema_says(
    caller: httpx.AsyncClient, revision: str
) -> None:
    shapes = await schemas(caller)
    called: list[str] = []

    async def made(tool: str, **arguments: Any) -> dict[str, Any]:
        found = await call(caller, tool, revision, **arguments)
        assert found["isError"] is False, found
        (text,) = found["content"]
        assert json.loads(text["text"]) == found["structuredContent"]
        jsonschema_rs.validate(shapes[tool], found["structuredContent"])
        called.append(tool)
        return found["structuredContent"]

    thread = (await made("start_thread", metadata={"a": "b"}))["thread_id"]
    turn = await made("ask_agent", message="Hi", thread_id=thread)
    assert (turn["thread_id"], turn["success"]) == (thread, True)
    threads = await made("list_threads", limit=100)
    assert thread in [each["thread_id"] for each in threads["data"]]
    history = await made("get_messages", thread_id=thread)
    assert turn["content"] in json.dumps(history, ensure_ascii=False)
    job = (await made("submit_job", message="Hi"))["job_id"]
    await ended(caller, job)
    assert (await made("get_job", job_id=job, wait=1))["status"] == "succeeded"
    later = (await made("submit_job", message="Hi", not_before="2100-01-01T00:00:00Z"))["job_id"]
    assert (await made("cancel_job", job_id=later))["status"] == "cancelled"
    jobs = await made("list_jobs", limit=100)
    assert {job, later} <= {each["job_id"] for each in jobs["data"]}
    await made("usage")
    assert set(called) == set(NAMES)


@pytest.mark.parametrize("revision", BOTH_KINDS)
async def test_a_streamed_call_reports_its_progress(
    caller: httpx.AsyncClient, revision: str
) -> None:
    params = {"name": "ask_agent", "arguments": {"message": "Hi"}, "_meta": {"progressToken": "p"}}
    answer = await rpc(caller, "tools/call", params, revision=revision, accept=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    *reports, last = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert reports
    assert {report["method"] for report in reports} == {"notifications/progress"}
    assert {report["params"]["progressToken"] for report in reports} == {"p"}
    steps = [report["params"]["progress"] for report in reports]
    assert steps == sorted(set(steps))
    assert last["id"] == 7
    assert last["result"]["isError"] is False
    jsonschema_rs.validate(
        (await schemas(caller))["ask_agent"], last["result"]["structuredContent"]
    )


async def test_a_repeated_key_acts_once(caller: httpx.AsyncClient) -> None:
    for tool, arguments, id_ in (
        ("ask_agent", {"message": "Hi"}, "turn_id"),
        ("start_thread", {}, "thread_id"),
        ("submit_job", {"message": "Hi"}, "job_id"),
    ):
        key = str(uuid.uuid4())
        first, second = [
            (await call(caller, tool, idempotency_key=key, **arguments))["structuredContent"]
            for _ in range(2)
        ]
        assert first[id_] == second[id_], tool
        other = {**arguments, "metadata": {"other": "arguments"}}
        refused = await call(caller, tool, idempotency_key=key, **other)
        assert refused["isError"] is True
        own = (await call(caller, tool, **arguments))["structuredContent"]
        assert own[id_] != first[id_]


async def test_what_a_tool_refuses_is_a_result_that_a_model_can_read(
    caller: httpx.AsyncClient,
) -> None:
    missing = f"thread_{'0' * 26}"
    for tool, arguments, code in (
        ("get_messages", {"thread_id": missing}, "not_found"),
        ("ask_agent", {"message": "Hi", "thread_id": missing}, "not_found"),
        ("get_job", {"job_id": f"job_{'0' * 26}"}, "not_found"),
        ("ask_agent", {}, "invalid_request"),
        ("ask_agent", {"message": "Hi", "mesage": "Hi"}, "invalid_request"),
        ("list_jobs", {"limit": "many"}, "invalid_request"),
    ):
        assert refusal(await call(caller, tool, **arguments))["code"] == code, tool


async def test_what_the_protocol_does_not_allow_is_an_error(caller: httpx.AsyncClient) -> None:
    unknown = {"name": "delete_all", "arguments": {}}
    for revision, status in ((STATELESS, 400), (WITH_HANDSHAKE[0], 200)):
        answer = await rpc(caller, "tools/call", unknown, revision=revision)
        assert (answer.status_code, error_of(answer)) == (status, -32602)
    other = await rpc(caller, "tools/list", headers={"Mcp-Method": "tools/call"})
    assert (other.status_code, error_of(other)) == (400, -32020)
    named = {"name": "usage", "arguments": {}}
    other = await rpc(caller, "tools/call", named, headers={"Mcp-Name": "ask_agent"})
    assert (other.status_code, error_of(other)) == (400, -32020)
    old = await rpc(caller, "tools/list", revision="1999-01-01")
    assert (old.status_code, error_of(old)) == (400, -32022)
    assert old.json()["error"]["data"]["supported"] == list(REVISIONS)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", -32700),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600),
        (b"[]", -32600),
        (b'"ping"', -32600),
        (b'{"id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        (b'{"id": 1, "jsonrpc": "2.0"}', -32600),
        (b'{"id": 1, "jsonrpc": "2.0", "method": "ping", "params": []}', -32600),
    ],
)
async def test_what_is_no_single_message_is_refused(
    caller: httpx.AsyncClient, content: bytes, code: int
) -> None:
    answer = await caller.post("mcp", content=content, headers={"Content-Type": JSON})
    assert (answer.status_code, error_of(answer)) == (400, code)
    assert answer.json().get("id") == (1 if content.startswith(b'{"id": 1,') else None)


async def test_pages_of_other_origins_and_other_methods_are_refused(
    caller: httpx.AsyncClient,
) -> None:
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        answer = await rpc(caller, "tools/list", headers={"Origin": origin})
        assert answer.status_code == 403, origin
    own = await rpc(caller, "tools/list", headers={"Origin": "http://localhost:6274"})
    assert own.status_code == 200
    for method in ("GET", "DELETE"):
        assert (await caller.request(method, "mcp")).status_code == 405
