"""Approvals and consents of tools that Foundry runs reach the caller, and are answered there."""

import json
from typing import Any

import httpx
import pytest

EVENTS = {"Accept": "text/event-stream"}
ASK = {"message": '/mcp search {"q": "x"}'}


async def send(caller: httpx.AsyncClient, thread_id: str, **body: Any) -> dict[str, Any]:
    answer = await caller.post(f"threads/{thread_id}/messages", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("approve", "says"), [(True, "found it"), (False, "denied: too costly")])
async def test_the_caller_decides(
    caller: httpx.AsyncClient, thread_id: str, approve: bool, says: str
) -> None:
    asked = await send(caller, thread_id, **ASK)
    assert asked["finish_reason"] == "approval"
    [request] = asked["requests"]
    assert (request["kind"], request["server"], request["tool"]) == ("approval", "docs", "search")
    assert json.loads(request["arguments"]) == {"q": "x"}
    decision = {"id": request["id"], "approve": approve, "reason": "too costly"}
    told = await send(caller, thread_id, approvals=[decision])
    assert told["content"] == f"search answered: {says}"
    assert "requests" not in told


async def test_a_stream_ends_with_the_request(caller: httpx.AsyncClient, thread_id: str) -> None:
    answer = await caller.post(f"threads/{thread_id}/messages", json=ASK, headers=EVENTS)
    last = answer.text.strip().rpartition("\n\n")[2]
    assert last.startswith("event: turn.completed")
    [request] = json.loads(last.partition("data: ")[2])["requests"]
    decision = {"id": request["id"], "approve": True}
    told = await caller.post(
        f"threads/{thread_id}/messages", json={"approvals": [decision]}, headers=EVENTS
    )
    assert "found it" in told.text


async def test_another_message_denies_what_is_open(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    [request] = (await send(caller, thread_id, **ASK))["requests"]
    assert (await send(caller, thread_id, message="Hello"))["content"] == "You said: Hello"
    late = {"approvals": [{"id": request["id"], "approve": True}]}
    refused = await caller.post(f"threads/{thread_id}/messages", json=late)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_call")
    assert refused.json()["errors"][0]["field"] == "approvals.0"


async def test_a_job_decides_with_its_first_message(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    submitted = await caller.post("jobs", json={**ASK, "thread_id": thread_id})
    job = (await caller.get(f"jobs/{submitted.json()['job_id']}?wait=20")).json()
    [request] = job["result"]["requests"]
    body = {
        "approvals": [{"id": request["id"], "approve": True}],
        "messages": ["and?", "then?"],
        "thread_id": thread_id,
    }
    submitted = await caller.post("jobs", json=body)
    job = (await caller.get(f"jobs/{submitted.json()['job_id']}?wait=20")).json()
    assert [result["content"] for result in job["results"]] == ["You said: and?", "You said: then?"]


async def test_without_a_thread_it_is_denied(caller: httpx.AsyncClient) -> None:
    answer = (await caller.post("messages", json={**ASK, "tools": ["data_analysis"]})).json()
    assert answer["content"] == "search answered: denied: The call was not approved."
    assert "requests" not in answer


async def test_the_link_for_a_consent_reaches_the_caller(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    for path in ("messages", f"threads/{thread_id}/messages"):
        answer = (await caller.post(path, json={"message": "/consent"})).json()
        [request] = answer["requests"]
        assert answer["finish_reason"] == "approval"
        assert (request["kind"], request["link"]) == ("consent", "https://consent.example/mail")
    assert (await send(caller, thread_id, message="Hello"))["content"] == "You said: Hello"


async def test_a_message_is_needed_without_approvals(
    caller: httpx.AsyncClient, thread_id: str
) -> None:
    refused = await caller.post(f"threads/{thread_id}/messages", json={"approvals": []})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "message")
