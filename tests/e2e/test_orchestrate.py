"""`POST /orchestrate` on the app, with storage and models in processes of their own."""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.services import FoundryEmulator
from shared.config import MLConfig, ModelSettings
from shared.orchestration import ModelOrchestrator
from tests.support.served import Deployment, EmulatorControl

JsonObject = dict[str, object]


@dataclass(frozen=True)
class Alone:
    """An app beside the shared one, and a caller of it."""

    deployment: Deployment
    caller: httpx.AsyncClient


MODEL_CALLS = ("responses.create", "chat.completions.create")
TOO_LONG = {"code": "context_length_exceeded", "message": "The maximum context is 8192 tokens."}


@asynccontextmanager
async def served(deployment: Deployment, folder: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A caller of an app with a second model: the emulator's chat completions as vLLM."""
    url = f"{deployment.foundry.url}/openai/v1"
    second = {"VLLM_SERVER_URL": url, "VLLM_API_KEY": "local-key", "FOUNDRY_MAX_RETRIES": "0"}
    with deployment.serve(folder, **second) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            yield caller


@pytest.fixture(scope="module")
async def orchestrating(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    async with served(deployment, tmp_path_factory.mktemp("orchestrating")) as caller:
        yield caller


@pytest.fixture
async def alone(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Alone]:
    """An app with queues of its own, so that no app without the second model takes its jobs."""
    own = Deployment(deployment.storage, deployment.foundry)
    async with served(own, tmp_path) as caller:
        yield Alone(own, caller)


async def ask(caller: httpx.AsyncClient, text: str, conversation: str, **more: str) -> JsonObject:
    body = {"user_input": text, "conversation_id": conversation, **more}
    answer = await caller.post("orchestrate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_conversation_falls_back_and_comes_back(
    orchestrating: httpx.AsyncClient, emulator: EmulatorControl, deployment: Deployment
) -> None:
    first = await ask(orchestrating, "My name is Ada.", "e2e-1")
    await emulator.inject("status", status=503)
    second = await ask(orchestrating, "What is my name?", "e2e-1")
    third = await ask(orchestrating, "/history", "e2e-1", model_type="foundry_agent_service")
    assert (first["source"], first["fallback_from"]) == ("foundry_agent_service", None)
    assert (second["source"], second["fallback_from"]) == ("vllm", "foundry_agent_service")
    assert second["reply"] == "Your name is Ada."
    assert json.loads(str(third["reply"])) == ["My name is Ada.", "What is my name?", "/history"]
    assert first["thread_id"] == second["thread_id"] == third["thread_id"]
    turns = await deployment.rows(kind=f"turn:{first['thread_id']}")
    assert [turn["status"] for turn in turns] == ["succeeded"] * 3


async def test_another_instance_knows_the_conversation(
    orchestrating: httpx.AsyncClient, caller: httpx.AsyncClient
) -> None:
    first = await ask(orchestrating, "My name is Bob.", "e2e-2", model_type="vllm")
    other = await ask(caller, "What is my name?", "e2e-2")
    assert other["reply"] == "Your name is Bob."
    assert other["thread_id"] == first["thread_id"]
    thread = (await caller.get(f"threads/{first['thread_id']}")).json()
    assert thread["message_count"] == 2


async def outcome(
    caller: httpx.AsyncClient, emulator: EmulatorControl, *, streamed: bool = False
) -> tuple[int, str | None, int, int]:
    """Status and code of a message's problem, and how often Foundry and vLLM were asked."""
    before = [len(await emulator.requests(name)) for name in MODEL_CALLS]
    body = {"user_input": "Hi", "conversation_id": f"e2e-{uuid.uuid4().hex}"}
    headers = {"Accept": "text/event-stream"} if streamed else {}
    answer = await caller.post("orchestrate", json=body, headers=headers)
    document = answer.json() if not streamed else json.loads(answer.text.split("data: ")[-1])
    foundry, vllm = [len(await emulator.requests(name)) for name in MODEL_CALLS]
    status = int(document.get("status", 200))
    return status, document.get("code"), foundry - before[0], vllm - before[1]


async def circuit(caller: httpx.AsyncClient) -> str:
    """The circuit of Foundry, as readiness shows it."""
    checks = (await caller.get("health/ready")).json()["checks"]
    return checks["models"]["breakers"]["foundry_agent_service"]


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 400, "body": {"error": TOO_LONG}},
        {"kind": "failed", "body": TOO_LONG},
        {"kind": "failed_then_error", "body": TOO_LONG},
        {"kind": "error_event", "body": {"type": "invalid_request_error", "message": "No."}},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_callers_mistakes_open_no_circuit_and_move_to_no_other_model(
    orchestrating: httpx.AsyncClient,
    emulator: EmulatorControl,
    fault: dict[str, Any],
    streamed: bool,
) -> None:
    await emulator.inject(times=None, **fault)
    for _ in range(6):
        found = await outcome(orchestrating, emulator, streamed=streamed)
        assert found == (400, "invalid_request", 1, 0)
    await emulator.clear_faults()
    assert await outcome(orchestrating, emulator) == (200, None, 1, 0)
    assert await circuit(orchestrating) == "closed"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "failed", "body": {"code": "insufficient_quota", "message": "Pay."}},
        {"kind": "error_event", "body": {"code": "RateLimitExceeded", "message": "Later."}},
        {"kind": "failed", "body": {"code": "E-4711", "message": "Never seen."}},
        {"kind": "html", "status": 200},
    ],
    ids=["spent", "limited", "unknown", "page"],
)
async def test_what_is_the_models_failure_moves_to_the_next_model(
    orchestrating: httpx.AsyncClient, emulator: EmulatorControl, fault: dict[str, Any]
) -> None:
    await emulator.inject(**fault)
    assert await outcome(orchestrating, emulator) == (200, None, 1, 1)


async def test_a_mistake_that_the_second_model_names_is_its_callers(
    orchestrating: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    operation = "chat.completions.create"
    await emulator.inject("failed", operation, times=None, body=TOO_LONG)
    body = {"user_input": "Hi", "conversation_id": "e2e-second", "model_type": "vllm"}
    for headers in ({}, {"Accept": "text/event-stream"}):
        answer = await orchestrating.post("orchestrate", json=body, headers=headers)
        assert TOO_LONG["message"].rstrip(".") in answer.text
        assert "invalid_request" in answer.text


async def test_it_streams(orchestrating: httpx.AsyncClient) -> None:
    body = {"user_input": "one two three", "conversation_id": "e2e-3", "model_type": "vllm"}
    headers = {"Accept": "text/event-stream"}
    async with orchestrating.stream("POST", "orchestrate", json=body, headers=headers) as answer:
        lines = [line async for line in answer.aiter_lines()]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "turn.started"
    assert names[1:-1] == ["message.delta"] * 5
    assert names[-1] == "turn.completed"
    last = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
    assert (last["reply"], last["source"]) == ("You said: one two three", "vllm")


async def test_a_program_finds_its_conversations_again(
    deployment: Deployment, foundry: FoundryEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in deployment.environment().items():
        monkeypatch.setenv(name, value)
    config = MLConfig(
        foundry_agent_service_endpoint=f"{foundry.url}/openai/v1",
        foundry_agent_service_api_key="local-key",
    )
    models = ModelSettings(vllm_server_url=f"{foundry.url}/openai/v1", vllm_api_key="local-key")

    async def ask(model_type: str, text: str) -> JsonObject:
        async with ModelOrchestrator(config, models=models) as orchestrator:
            return await orchestrator.process_model_request(model_type, "general", text, "mine")

    first = await ask("foundry_agent_service", "My name is Eve.")
    second = await ask("vllm", "What is my name?")
    assert (first["error"], second["reply"]) == (None, "Your name is Eve.")
    assert first["thread_id"] == second["thread_id"]
    rows = await deployment.rows("local", kind=f"turn:{first['thread_id']}")
    assert [row["status"] for row in rows] == ["succeeded"] * 2


async def test_a_thread_is_continued_through_any_route_by_any_model(alone: Alone) -> None:
    """Each route and model knows what was said through the others."""
    orchestrating = alone.caller
    thread_id = (await orchestrating.post("threads", json={})).json()["thread_id"]
    path = f"threads/{thread_id}/messages"
    told = await orchestrating.post(path, json={"message": "My name is Eve."})
    by_vllm = await orchestrating.post(
        path, json={"message": "What is my name?", "model_type": "vllm"}
    )
    job = {"message": "What is my name?", "thread_id": thread_id, "model_type": "vllm"}
    accepted = (await orchestrating.post("jobs", json=job)).json()["job_id"]
    ended = (await orchestrating.get(f"jobs/{accepted}?wait=25")).json()
    assert ended["status"] == "succeeded", ended
    again = await orchestrating.post(path, json={"message": "/history"})
    assert (told.json()["source"], told.json()["fallback_from"]) == ("foundry_agent_service", None)
    assert (by_vllm.json()["content"], by_vllm.json()["source"]) == ("Your name is Eve.", "vllm")
    assert ended["result"]["content"] == "Your name is Eve."
    assert (ended["result"]["source"], ended["result"]["fallback_from"]) == ("vllm", None)
    said = ["My name is Eve.", "What is my name?", "What is my name?", "/history"]
    assert json.loads(again.json()["content"]) == said
    turns = await alone.deployment.rows(kind=f"turn:{thread_id}")
    assert [turn["status"] for turn in turns] == ["succeeded"] * 4


async def test_a_conversation_is_continued_on_its_thread(orchestrating: httpx.AsyncClient) -> None:
    first = await ask(orchestrating, "My name is Kim.", "e2e-thread", model_type="vllm")
    answer = await orchestrating.post(
        f"threads/{first['thread_id']}/messages", json={"message": "What is my name?"}
    )
    assert answer.json()["content"] == "Your name is Kim."
    assert answer.json()["source"] == "foundry_agent_service"


async def test_another_model_answers_on_a_thread(
    orchestrating: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    thread_id = (await orchestrating.post("threads", json={})).json()["thread_id"]
    await emulator.inject("status", status=503)
    body = {"message": "Hello", "model_type": "foundry_agent_service"}
    answer = await orchestrating.post(f"threads/{thread_id}/messages", json=body)
    document = answer.json()
    assert (document["content"], document["source"]) == ("You said: Hello", "vllm")
    assert document["fallback_from"] == "foundry_agent_service"


async def test_a_repeated_message_is_answered_once(
    orchestrating: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    body = {"user_input": "Once", "conversation_id": "e2e-once"}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    before = len(await emulator.requests("responses.create"))
    first = await orchestrating.post("orchestrate", json=body, headers=key)
    again = await orchestrating.post("orchestrate", json=body, headers=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await emulator.requests("responses.create")) == before + 1
