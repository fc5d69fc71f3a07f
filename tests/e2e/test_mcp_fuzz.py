"""Anything at all in the arguments of tools and in JSON-RPC messages: refused or taken, no fault.

`FUZZ_EXAMPLES` says how many are tried of each kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.services import FunctionsHost
from shared.mcp.jsonrpc import is_id
from tests.support.client_keys import bearer
from tests.support.mcp_calls import PREFIX, REVISIONS, STATELESS
from tests.support.odd_bodies import SANE, anything, numbers, texts

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 40)
MODELS_FAULT = "response_format_mismatch"
"""Of 5xx: the scripted model does not write what a schema asks for."""

NAMES = ["list_jobs", "=?base64?bGlzdF9qb2Jz?=", "=?base64?//?="]
"""Values of the header, one of them not base64."""

METHODS = ["tools/list", "tools/call", "server/discover", "initialize", "ping", "prompts/get"]
OWN: dict[str, st.SearchStrategy[Any]] = {
    **SANE,
    "not_before": st.just("2100-01-01T00:00:00Z"),
    "job_id": st.from_regex(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True),
    "wait": st.integers(-1, 1),
    "limit": st.integers(-1, 101),
    "cursor": texts,
    "by": st.lists(st.sampled_from(["day", "model", "owner"]), max_size=4) | texts,
    "from": st.dates().map(str),
    "to": st.dates().map(str),
    "all_owners": st.booleans(),
    "status": st.sampled_from(["queued", "running", "succeeded"]),
    "idempotency_key": texts | st.text(max_size=300),
}
"""Values that are often taken, or nearly."""

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "ask_agent", "arguments": {"message": "Hi"}},
}

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client(app: FunctionsHost) -> Iterator[httpx.Client]:
    """A caller with a client key of its own, whom no other test sees."""
    base_url = f"{app.url}/api/"
    key = httpx.post(f"{base_url}keys", json={"label": "fuzz"}).raise_for_status().json()["key"]
    headers = {**bearer(key), "Content-Type": "application/json"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=30) as client:
        client.post("mcp", json=HELLO).raise_for_status()  # also, the app has logged a turn
        yield client


@pytest.fixture(scope="module")
def arguments(client: httpx.Client) -> dict[str, list[str]]:
    """The names of the arguments of each tool."""
    listed = client.post("mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    tools = listed.json()["result"]["tools"]
    return {tool["name"]: list(tool["inputSchema"]["properties"]) for tool in tools}


def send(client: httpx.Client, message: object, headers: dict[str, str]) -> Any:
    """The JSON-RPC answer, which is well-formed and no fault of the app; None for a 202."""
    answer = client.post("mcp", content=json.dumps(message).encode(), headers=headers)
    assert answer.status_code < 500, (message, answer.text)
    if answer.status_code == 202:
        assert answer.content == b""
        return None
    if answer.headers["content-type"].startswith("text/event-stream"):
        document = json.loads(answer.text.strip().rpartition("data: ")[2])
    else:
        document = answer.json()
    assert document["jsonrpc"] == "2.0"
    assert ("result" in document) != ("error" in document)
    if isinstance(message, dict) and is_id(message.get("id")):
        assert document.get("id", message["id"]) == message["id"]
    return document


def check_result(document: Any) -> None:
    """Check that a call was taken, or refused for what the caller sent."""
    result = document["result"]
    (text,) = result["content"]
    body = json.loads(text["text"])
    if result["isError"]:
        assert body["status"] < 500 or body["code"] == MODELS_FAULT, body
    else:
        assert body == result["structuredContent"]


@fuzzed
@given(data=st.data())
def test_arguments_that_make_no_sense_are_refused(
    client: httpx.Client, arguments: dict[str, list[str]], data: st.DataObject
) -> None:
    tool = data.draw(st.sampled_from(list(arguments)))
    known = {name: OWN.get(name, anything) | anything for name in arguments[tool]}
    given_: dict[str, Any] = data.draw(st.fixed_dictionaries({}, optional=known))
    given_ |= data.draw(st.dictionaries(texts, anything, max_size=1))
    if tool == "submit_job" and "message" in given_:
        given_["not_before"] = "2100-01-01T00:00:00Z"
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": given_},
    }
    accept = data.draw(st.sampled_from(["application/json", "text/event-stream", "*/*"]))
    check_result(send(client, message, {"Accept": accept}))


ids = st.integers(-(2**70), 2**70) | texts | numbers | st.none() | st.booleans() | anything
metas = st.fixed_dictionaries(
    {},
    optional={
        f"{PREFIX}protocolVersion": st.sampled_from(REVISIONS) | anything,
        f"{PREFIX}clientCapabilities": st.just({}) | anything,
        f"{PREFIX}clientInfo": anything,
        "progressToken": ids,
    },
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("list_jobs") | anything,
        "arguments": st.just({}) | anything,
        "cursor": anything,
        "protocolVersion": st.sampled_from(REVISIONS) | anything,
        "_meta": metas | anything,
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | anything,
        "id": ids,
        "method": st.sampled_from(METHODS) | anything,
        "params": parameters | anything,
        "x": anything,
    },
)
tokens = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
header_values = st.fixed_dictionaries(
    {},
    optional={
        "MCP-Protocol-Version": st.sampled_from(REVISIONS) | tokens,
        "Mcp-Method": st.sampled_from(METHODS) | tokens,
        "Mcp-Name": st.sampled_from(["list_jobs", "=?base64?bGlzdF9qb2Jz?=", "=?base64?//?="])
        | tokens,
        "Accept": st.sampled_from(["application/json", "text/event-stream"]),
    },
)


@fuzzed
@given(
    message=messages | st.lists(messages, max_size=3) | anything,
    headers=header_values,
    stateless=st.booleans(),
)
def test_messages_that_make_no_sense_are_refused(
    client: httpx.Client, message: Any, headers: dict[str, str], stateless: bool
) -> None:
    if stateless and isinstance(message, dict) and isinstance(message.get("method"), str):
        headers = {**headers, "MCP-Protocol-Version": STATELESS}
    document = send(client, message, headers)
    if document is not None and "content" in document.get("result", {}):
        check_result(document)


@fuzzed
@given(content=st.binary(max_size=60) | st.builds(b"[%b]".__mod__, st.binary(max_size=20)))
def test_bytes_that_are_no_message_are_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post("mcp", content=content)
    if answer.status_code != 415:  # text in another encoding
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in {-32700, -32600}
