"""`POST /orchestrate` as a caller sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from shared.api import orchestrate
from shared.orchestration.table_conversations import Storage, TableConversations
from shared.state.lanes import Lanes

from ..api.calling import assert_problem, caller
from ..conftest import App
from .conftest import Build
from .net import FOUNDRY, VLLM, Net

UNAVAILABLE = httpx.Response(503, json={"error": {"message": "down"}})
HI = {"user_input": "Hi", "conversation_id": "conv-001"}


@pytest.fixture
async def api(app: App, build: Build) -> AsyncIterator[httpx.AsyncClient]:
    lanes = Lanes(app.table, app.clock)
    storage = Storage(app.table, lanes, app.clock, app.queues.wake, record_content=True)
    asking = build(conversations=TableConversations(storage))
    services = replace(app.services(), orchestration=asking.orchestration)
    async with caller(services, ("POST", "orchestrate", orchestrate.send)) as client:
        yield client


async def test_a_message_is_answered_with_all_documented_keys(api: httpx.AsyncClient) -> None:
    answer = await api.post("orchestrate", json={**HI, "model_type": "vllm", "domain": "sales"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.pop("execution_time") > 0
    assert body.pop("timestamp")
    assert body.pop("thread_id").startswith("thread_")
    assert body.pop("usage")["total_tokens"] > 0
    assert body == {
        "conversationId": "conv-001",
        "domain": "sales",
        "reply": "You said: Hi",
        "success": True,
        "error": None,
        "source": "vllm",
        "model_type": "vllm",
        "fallback_from": None,
        "attempts": [{"model_type": "vllm", "error_code": None}],
        "model": "llama-3.3-70b",
        "agent_id": None,
        "tools_used": [],
        "finish_reason": "stop",
    }


async def test_without_a_model_type_the_preferred_one_answers(
    api: httpx.AsyncClient, net: Net
) -> None:
    assert (await api.post("orchestrate", json=HI)).json()["source"] == "foundry_agent_service"
    net.down(FOUNDRY, UNAVAILABLE)
    body = (await api.post("orchestrate", json=HI)).json()
    assert (body["source"], body["fallback_from"]) == ("vllm", "foundry_agent_service")
    assert [attempt["error_code"] for attempt in body["attempts"]] == ["service_unavailable", None]


async def test_its_thread_can_be_seen_and_deleted_with_its_texts(
    api: httpx.AsyncClient, app: App
) -> None:
    thread_id = (await api.post("orchestrate", json=HI)).json()["thread_id"]
    assert (await api.get(f"threads/{thread_id}")).json()["message_count"] == 1
    assert len(app.table.rows("key", "exchange:")) == 1
    assert (await api.delete(f"threads/{thread_id}")).status_code == 204
    assert app.table.rows("key", "exchange:") == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_input": "Hi"}, "conversation_id"),
        ({**HI, "model_type": "gpt"}, "model_type"),
        ({**HI, "conversation_id": "c" * 257}, "conversation_id"),
        ({**HI, "user_input": ""}, "user_input"),
        ({**HI, "message": "Hi"}, "message"),
    ],
)
async def test_a_wrong_field_is_named(
    api: httpx.AsyncClient, body: dict[str, str], field: str
) -> None:
    document = assert_problem(await api.post("orchestrate", json=body), 422, "invalid_request")
    assert [error["field"] for error in document["errors"]] == [field]


async def test_a_model_that_is_not_configured_is_a_problem(api: httpx.AsyncClient) -> None:
    answer = await api.post("orchestrate", json={**HI, "model_type": "azure_ml"})
    document = assert_problem(answer, 503, "configuration_error")
    assert "AZURE_ML_ENDPOINT" in document["detail"]


async def test_a_busy_conversation_is_a_conflict(
    api: httpx.AsyncClient, app: App, net: Net
) -> None:
    await api.post("orchestrate", json=HI)
    (row,) = app.table.rows("key", "thread:")
    await Lanes(app.table, app.clock).take("key", row.row_key, "another")
    document = assert_problem(await api.post("orchestrate", json=HI), 409, "thread_busy")
    assert document["retry_after"] > 0


async def events_of(api: httpx.AsyncClient, body: dict[str, str]) -> list[tuple[str, dict]]:
    headers = {"Accept": "text/event-stream"}
    answer = await api.post("orchestrate", json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in answer.text.split("\n\n") if frame.startswith("event")]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in (frame.split("\n") for frame in frames)
    ]


async def test_a_turn_is_streamed(api: httpx.AsyncClient) -> None:
    events = await events_of(api, {**HI, "model_type": "vllm", "user_input": "one two"})
    names = [name for name, _ in events]
    assert names[0] == "turn.started"
    assert names[-1] == "turn.completed"
    assert set(names[1:-1]) == {"message.delta"}
    started, completed = events[0][1], events[-1][1]
    assert started == {"conversationId": "conv-001", "thread_id": completed["thread_id"]}
    assert "".join(data["text"] for _, data in events[1:-1]) == completed["reply"]


async def test_a_stream_that_fails_ends_with_a_problem(api: httpx.AsyncClient, net: Net) -> None:
    net.down(FOUNDRY, httpx.Response(400, json={"error": {"message": "No."}}))
    events = await events_of(api, {**HI, "model_type": "foundry_agent_service"})
    assert [name for name, _ in events] == ["turn.started", "error"]
    assert events[-1][1]["code"] == "invalid_request"
    assert net.asked(VLLM) == []


async def test_metrics_show_each_model_and_its_circuit(api: httpx.AsyncClient) -> None:
    await api.post("orchestrate", json={**HI, "model_type": "vllm"})
    models = (await api.get("metrics")).json()["models"]
    assert models.keys() == {"foundry_agent_service", "vllm", "openai"}
    assert models["vllm"]["circuit"] == "closed"
    assert models["vllm"]["successful_requests"] == 1
