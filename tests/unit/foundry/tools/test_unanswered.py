"""Calls without an answer: found, answered with the next message, and never left by a turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from shared.config import IdentitySettings
from shared.foundry import FoundryAgentServiceClient, InvalidRequestError
from shared.foundry.tools.unanswered import ABANDONED_CALL, refusal, unanswered
from tests.support.app_on_fakes import at_project, at_resource
from tests.support.scripted_foundry import ScriptedFoundry, message_item, response_body

JsonObject = dict[str, Any]


def call(call_id: str, kind: str = "function_call", name: str = "slow") -> JsonObject:
    arguments: JsonObject = {"call_id": call_id, "name": name, "arguments": "{}"}
    return {"type": kind, "id": f"fc_{call_id}", **arguments}


def output(call_id: str, kind: str = "function_call_output") -> JsonObject:
    return {"type": kind, "id": f"fco_{call_id}", "call_id": call_id, "output": "done"}


def request(name: str) -> JsonObject:
    return {"type": "mcp_approval_request", "id": name, "server_label": "docs", "name": "search"}


OPEN = [
    ([call("a"), output("a")], []),
    ([call("a"), call("b"), output("b")], ["fc_a"]),
    ([call("a", "custom_tool_call"), output("a")], []),
    ([call("a", "custom_tool_call")], ["fc_a"]),
    ([request("r")], ["r"]),
    ([request("r"), {"type": "mcp_approval_response", "approval_request_id": "r"}], []),
    ([request("r"), {"type": "mcp_call", "id": "m", "approval_request_id": "r"}], []),
    ([call(""), {"type": "function_call"}, {"type": "mcp_approval_request"}, {}], []),
    ([message_item("Hi"), {"type": "web_search_call", "id": "w"}], []),
]


@pytest.mark.parametrize(("items", "ids"), OPEN)
def test_what_waits_for_an_answer_is_found(items: list[JsonObject], ids: list[str]) -> None:
    assert [item["id"] for item in unanswered(items)] == ids


def test_each_kind_has_a_refusal_that_answers_it() -> None:
    for item in (call("a"), call("a", "custom_tool_call"), request("r")):
        assert unanswered([item, refusal(item)]) == []


@pytest.fixture
def foundry() -> ScriptedFoundry:
    return ScriptedFoundry()


@pytest.fixture
async def client(
    foundry: ScriptedFoundry, identity: IdentitySettings
) -> AsyncIterator[FoundryAgentServiceClient]:
    """A client that calls a model at a project endpoint."""
    config = at_project(agent_id="", max_retries=0)
    made = FoundryAgentServiceClient(config, identity=identity, http=foundry.transport)
    async with made as client:
        yield client


USER: JsonObject = {"type": "message", "id": "msg_u", "role": "user", "content": "before"}


@pytest.mark.parametrize("behind", [0, 30], ids=["short", "longer than a page"])
async def test_a_thread_of_another_client_is_looked_at_once(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry, behind: int
) -> None:
    rounds = [item for n in range(behind) for item in (call(f"o{n}"), output(f"o{n}"))]
    foundry.conversations["conv_1"] = [USER, *rounds, call("a"), request("r")]
    assert (await client.send_message("Hi", "conv_1")).success
    (body,) = foundry.sent
    assert body["input"][:2] == [
        {"type": "function_call_output", "call_id": "a", "output": ABANDONED_CALL},
        refusal(request("r")),
    ]
    looks = sum(call.method == "GET" and call.path.endswith("items") for call in foundry.calls)
    await client.send_message("and now?", "conv_1")
    assert len(foundry.sent[1]["input"]) == 1
    assert looks == sum(seen.path.endswith("items") for seen in foundry.calls)


async def test_a_thread_without_open_calls_is_not_looked_at_again(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    foundry.conversations["conv_1"] = [USER, call("a"), output("a"), message_item("x", id="m")]
    assert (await client.send_message("Hi", "conv_1")).success
    assert len(foundry.sent[0]["input"]) == 1
    assert sum(seen.path.endswith("items") for seen in foundry.calls) == 1


NO_OUTPUT = {
    "error": {"code": "invalid_payload", "message": "No tool output found for function call a."}
}


async def test_a_refusal_for_an_open_call_is_answered_once(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await client.create_thread()
    await client.send_message("Hi", thread_id)
    foundry.conversations[thread_id] += [USER, call("a")]
    foundry.then(httpx.Response(400, json=NO_OUTPUT))
    assert (await client.send_message("more", thread_id)).success
    assert foundry.sent[-1]["input"][0]["output"] == ABANDONED_CALL
    for _ in range(2):
        foundry.then(httpx.Response(400, json=NO_OUTPUT))
    refused = await client.send_message("still", thread_id)
    assert refused.error_code == "invalid_request"


async def test_another_refusal_is_not_repeated(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await client.create_thread()
    foundry.then_fail(400, {"code": "invalid_payload", "message": "No such thing."})
    with pytest.raises(InvalidRequestError):
        await client.send_message_or_raise("Hi", thread_id)
    assert len(foundry.sent) == 1


async def test_calls_that_no_function_of_ours_can_answer_are_answered(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry
) -> None:
    thread_id = await client.create_thread()
    asked = response_body(output=[call("a", "custom_tool_call"), call("b")])
    foundry.then(httpx.Response(200, json=asked))
    foundry.then(httpx.Response(200, json=response_body()))
    assert (await client.send_message("Hi", thread_id)).content == "Hello"
    answers = {item["call_id"]: item["output"] for item in foundry.sent[1]["input"]}
    assert answers == {"a": ABANDONED_CALL, "b": "There is no tool 'slow'. Known tools: none."}


async def test_a_caller_who_leaves_is_let_go_where_foundry_takes_no_answers(
    client: FoundryAgentServiceClient, foundry: ScriptedFoundry, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.Event()

    async def slow() -> str:
        """Take long."""
        running.set()
        await asyncio.Event().wait()
        return ""

    thread_id = await client.create_thread()
    foundry.then(httpx.Response(200, json=response_body(output=[call("a")])))
    sending = asyncio.create_task(client.send_message("Hi", thread_id, tools=[slow]))
    await asyncio.wait_for(running.wait(), 10)
    foundry.then(httpx.Response(503, json={}), "/items")
    sending.cancel()
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await sending
    assert "without an answer until the next message" in caplog.text


@pytest.mark.parametrize("previous", [None, "resp_1"])
async def test_a_chain_is_taken_up_before_the_turn_that_was_never_finished(
    previous: str | None,
) -> None:
    foundry = ScriptedFoundry()
    foundry.responses["resp_1"] = {"id": "resp_1", "output": [message_item("x")], "input": []}
    foundry.responses["resp_2"] = {
        "id": "resp_2",
        "output": [call("a")],
        "previous_response_id": previous,
    }
    foundry.responses["resp_3"] = {
        "id": "resp_3",
        "output": [call("b")],
        "previous_response_id": "resp_2",
    }
    async with FoundryAgentServiceClient(at_resource(), http=foundry.transport) as client:
        for name in ("resp_2", "resp_3"):
            assert (await client.send_message("Hi", name)).success
            assert foundry.sent[-1].get("previous_response_id") == previous
