"""`POST /orchestrate` as a caller sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from shared.api.orchestrate import OrchestrateApi
from shared.audit.trail import AuditRecord
from shared.state.conversation_ids import ConversationIds
from shared.state.lanes import Lanes
from shared.turns.pipeline import Turns, TurnStorage
from shared.turns.recording import Recording
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem, caller
from tests.support.fakes import unlimited
from tests.support.net import FOUNDRY, OPENAI, VLLM, Net

from .conftest import Build

UNAVAILABLE = httpx.Response(503, json={"error": {"message": "down"}})
HI = {"user_input": "Hi", "conversation_id": "conv-001"}


@pytest.fixture
async def api(app: App, build: Build) -> AsyncIterator[httpx.AsyncClient]:
    services = app.services()
    core, web = services.core, services.web
    recording = Recording(core.audit, core.meter, unlimited(app.clock), content=True)
    lanes = Lanes(app.table, app.clock)
    ids = ConversationIds(app.table, lanes, app.clock)
    storage = TurnStorage(app.table, lanes, app.clock, app.queues.wake, ids)
    asking = build(make_turns=lambda answerer: Turns(None, answerer, storage, recording))
    messages = replace(web.api.messages, turns=asking.turns)
    metrics = replace(web.api.metrics, router=asking.router)
    api = replace(web.api, orchestrate=OrchestrateApi(messages), metrics=metrics)
    async with caller(replace(services, web=replace(web, api=api))) as client:
        yield client


async def test_a_message_is_answered_with_all_documented_keys(api: httpx.AsyncClient) -> None:
    answer = await api.post("orchestrate", json={**HI, "model_type": "vllm", "domain": "sales"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.pop("execution_time") > 0
    assert body.pop("timestamp")
    assert body.pop("thread_id").startswith("thread_")
    assert body.pop("turn_id").startswith("turn_")
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
        "parsed": None,
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


async def events_of(
    api: httpx.AsyncClient, body: dict[str, str], **headers: str
) -> list[tuple[str, dict]]:
    headers = {"Accept": "text/event-stream", **headers}
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
    ids = {name: completed[name] for name in ("turn_id", "thread_id")}
    assert started == {"conversationId": "conv-001", **ids}
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


KEY = {"Idempotency-Key": "order-17"}


async def test_a_repeated_message_is_asked_once_and_answered_as_before(
    api: httpx.AsyncClient, app: App, net: Net
) -> None:
    first = await api.post("orchestrate", json=HI, headers=KEY)
    asked = len(net.asked(FOUNDRY))
    again = await api.post("orchestrate", json={**HI, "domain": "general"}, headers=KEY)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(net.asked(FOUNDRY)) == asked
    assert len(app.table.rows("key", "turn:")) == len(app.table.rows("key", "exchange:")) == 1
    other = await api.post("orchestrate", json={**HI, "conversation_id": "conv-002"}, headers=KEY)
    assert_problem(other, 422, "idempotency_mismatch")


async def test_a_repeated_message_is_streamed_as_it_was_answered(api: httpx.AsyncClient) -> None:
    streamed = await events_of(api, HI, **KEY)
    again = await events_of(api, HI, **KEY)
    assert again == [streamed[0], streamed[-1]]
    assert (await api.post("orchestrate", json=HI, headers=KEY)).json() == streamed[-1][1]


async def test_a_failure_that_may_pass_is_tried_again_and_another_is_kept(
    api: httpx.AsyncClient, app: App, net: Net
) -> None:
    body = {**HI, "model_type": "foundry_agent_service"}
    for place in (FOUNDRY, VLLM, OPENAI):
        net.down(place, UNAVAILABLE)
    failed = await api.post("orchestrate", json=body, headers=KEY)
    assert_problem(failed, 503, "service_unavailable")
    for place in (FOUNDRY, VLLM, OPENAI):
        net.down(place, None)
    answered = await api.post("orchestrate", json=body, headers=KEY)
    assert answered.json()["reply"] == "You said: Hi"
    assert "idempotency-replayed" not in answered.headers
    assert len(app.table.rows("key", "turn:")) == 2

    net.down(FOUNDRY, httpx.Response(400, json={"error": {"message": "No."}}))
    other = {"Idempotency-Key": "order-18"}
    refused = await api.post("orchestrate", json=body, headers=other)
    assert_problem(refused, 400, "invalid_request")
    net.down(FOUNDRY, None)
    again = await api.post("orchestrate", json=body, headers=other)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == refused.json()


async def test_a_key_costs_one_transaction(api: httpx.AsyncClient, app: App) -> None:
    await api.post("orchestrate", json=HI)
    app.table.reset_counts()
    await api.post("orchestrate", json=HI)
    assert app.table.transactions == 2
    app.table.reset_counts()
    await api.post("orchestrate", json=HI, headers=KEY)
    assert app.table.transactions == 3


async def test_a_turn_is_on_the_audit_trail(api: httpx.AsyncClient, app: App, net: Net) -> None:
    answer = await api.post("orchestrate", json=HI)
    net.down(FOUNDRY, httpx.Response(400, json={"error": {"message": "No."}}))
    await api.post("orchestrate", json=HI)
    kept = [AuditRecord.from_row(row) for row in app.table.rows("key", "audit:")]
    failed, sent = sorted(kept, key=lambda record: record.outcome)
    body = answer.json()
    assert (sent.action, sent.outcome) == ("send", "succeeded")
    assert (sent.turn_id, sent.thread_id) == (body["turn_id"], body["thread_id"])
    assert sent.request_id == answer.headers["x-request-id"]
    assert sent.total_tokens == body["usage"]["total_tokens"]
    assert (failed.outcome, failed.code) == ("failed", "invalid_request")
