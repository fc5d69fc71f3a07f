"""What holds for every call of the MCP face: cut connections, budgets, audit, approvals."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from local.services import FunctionsHost
from tests.support.asking import ended
from tests.support.client_keys import bearer
from tests.support.mcp_calls import (
    BOTH_KINDS,
    JSON,
    STREAM,
    call,
    refusal,
    rpc,
    streamed,
)
from tests.support.served import EmulatorControl
from tests.support.waiting import eventually

LATER = "2100-01-01T00:00:00Z"
ASK_FOR_APPROVAL = '/mcp search {"q": "x"}'
Send = Callable[..., Awaitable[dict[str, Any]]]


async def new_owner(app: FunctionsHost, **terms: Any) -> httpx.AsyncClient:
    """A caller that owns nothing yet, with a client key of its own."""
    base_url = f"{app.url}/api/"
    async with httpx.AsyncClient(base_url=base_url) as operator:
        made = await operator.post("keys", json={"label": "test", **terms})
    key: str = made.raise_for_status().json()["key"]
    return httpx.AsyncClient(base_url=base_url, headers=bearer(key), timeout=30)


@pytest.fixture
async def owner(app: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    async with await new_owner(app) as client:
        yield client


async def records(owner: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The owner's audit records."""
    answer = await owner.get("audit", params={"limit": 1000})
    return answer.raise_for_status().json()["data"]


@pytest.mark.parametrize("accept", [JSON, STREAM])
@pytest.mark.parametrize("revision", BOTH_KINDS)
async def test_a_call_that_was_cut_off_and_is_repeated_with_its_key_runs_once(
    owner: httpx.AsyncClient, emulator: EmulatorControl, revision: str, accept: str
) -> None:
    text = f"Say {uuid.uuid4().hex}"
    arguments = {"message": text, "idempotency_key": text}
    params = {"name": "ask_agent", "arguments": arguments, "_meta": {"progressToken": 1}}

    async def asked() -> int:
        return sum(text in str(each) for each in await emulator.requests("responses.create"))

    await emulator.inject("slow", seconds=1)
    first = asyncio.create_task(rpc(owner, "tools/call", params, revision=revision, accept=accept))
    await eventually(asked)
    first.cancel()  # closes the connection
    await asyncio.wait([first])
    assert first.cancelled()

    send: Send = call if accept == JSON else streamed

    async def answered() -> dict[str, Any] | None:
        found = await send(owner, "ask_agent", revision, **arguments)
        if found["isError"]:
            assert refusal(found)["code"] == "idempotency_in_progress"
            return None
        return found

    again = await eventually(answered)
    assert again["structuredContent"]["content"] == f"You said: {text}"
    assert await send(owner, "ask_agent", revision, **arguments) == again
    assert await asked() == 1
    usage = (await call(owner, "usage"))["structuredContent"]
    assert usage["total"]["requests"] == 1
    ran = [each for each in await records(owner) if each["outcome"] == "succeeded"]
    assert [each["turn_id"] for each in ran if each["action"] == "send"] == [
        again["structuredContent"]["turn_id"]
    ]


async def test_a_full_budget_is_a_result_with_its_code_and_detail(app: FunctionsHost) -> None:
    async with await new_owner(app, budgets=[{"requests": 1, "per": "month"}]) as owner:
        assert (await call(owner, "ask_agent", message="Hi"))["isError"] is False
        for send in (call, streamed):
            problem = refusal(await send(owner, "ask_agent", message="Hi"))
            assert (problem["code"], problem["status"]) == ("budget_exhausted", 429)
            assert "requests" in problem["detail"]
        assert (await call(owner, "list_threads"))["isError"] is False
        refused = [each for each in await records(owner) if each["outcome"] == "refused"]
        assert [each["code"] for each in refused] == ["budget_exhausted"] * 2


async def test_every_call_is_on_record_as_of_this_face(owner: httpx.AsyncClient) -> None:
    async def made(tool: str, **arguments: Any) -> dict[str, Any]:
        return (await call(owner, tool, **arguments))["structuredContent"]

    thread = (await made("start_thread"))["thread_id"]
    turn = await made("ask_agent", message="Hi", thread_id=thread)
    on_stream = (await streamed(owner, "ask_agent", message="Hi"))["structuredContent"]
    await made("list_threads")
    await made("get_messages", thread_id=thread)
    job = (await made("submit_job", message="Hi", not_before=LATER))["job_id"]
    await made("get_job", job_id=job)
    await made("cancel_job", job_id=job)
    await made("list_jobs")
    await made("usage")
    refused = await call(owner, "ask_agent", thread_id=thread)
    expected = {
        ("thread_create", thread, None, None),
        ("send", thread, turn["turn_id"], None),
        ("send", None, on_stream["turn_id"], None),
        ("send", thread, None, refusal(refused)["code"]),
        ("thread_read", None, None, None),
        ("thread_read", thread, None, None),
        ("job_submit", job, None, None),
        ("job_read", job, None, None),
        ("job_read", None, None, None),
        ("job_cancel", job, None, None),
        ("usage_read", None, None, None),
    }

    async def recorded() -> set[Any]:
        found = [each for each in await records(owner) if each["action"] != "audit_read"]
        assert {each["face"] for each in found} <= {"mcp"}
        return {
            (
                each["action"],
                each.get("thread_id") or each.get("job_id"),
                each.get("turn_id"),
                each.get("code"),
            )
            for each in found
        }

    await eventually(lambda: _equals(recorded, expected))


async def _equals(find: Callable[[], Awaitable[set[Any]]], expected: set[Any]) -> bool:
    return await find() == expected


@pytest.mark.parametrize("send", [call, streamed])
@pytest.mark.parametrize(("approve", "says"), [(True, "found it"), (False, "denied: too costly")])
async def test_a_tool_that_waits_for_approval_is_decided_by_the_caller(
    caller: httpx.AsyncClient, thread_id: str, send: Send, approve: bool, says: str
) -> None:
    asked = await send(caller, "ask_agent", message=ASK_FOR_APPROVAL, thread_id=thread_id)
    (request,) = asked["structuredContent"]["requests"]
    assert (request["kind"], request["tool"]) == ("approval", "search")
    assert json.loads(request["arguments"]) == {"q": "x"}
    decision = {"id": request["id"], "approve": approve, "reason": "too costly"}
    told = await send(caller, "ask_agent", thread_id=thread_id, approvals=[decision])
    assert told["structuredContent"]["content"] == f"search answered: {says}"
    unknown = await send(caller, "ask_agent", thread_id=thread_id, approvals=[decision])
    assert refusal(unknown)["code"] == "unknown_call"


async def test_a_job_is_approved_too(caller: httpx.AsyncClient, thread_id: str) -> None:
    async def result(**arguments: Any) -> dict[str, Any]:
        submitted = await call(caller, "submit_job", thread_id=thread_id, **arguments)
        job_id = submitted["structuredContent"]["job_id"]
        await ended(caller, job_id)
        return (await call(caller, "get_job", job_id=job_id))["structuredContent"]["result"]

    (request,) = (await result(message=ASK_FOR_APPROVAL))["requests"]
    told = await result(approvals=[{"id": request["id"], "approve": True}])
    assert told["content"] == "search answered: found it"


async def test_the_link_for_a_consent_reaches_the_caller(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    asked = await call(caller, "ask_agent", message="/consent", thread_id=thread_id)
    (request,) = asked["structuredContent"]["requests"]
    assert (request["kind"], request["link"]) == ("consent", "https://consent.example/mail")
