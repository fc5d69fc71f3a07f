"""`ModelOrchestrator` by its documented names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

import shared.ml
import shared.orchestration
from shared.config import MLConfig, ModelSettings
from shared.foundry.errors import ConfigurationError
from shared.foundry.events import MessageDelta
from shared.orchestration import ModelOrchestrator, ModelType
from shared.orchestration.breaker import FAILURES_TO_OPEN
from shared.orchestration.memory import MemoryTurns
from shared.turns.background import StillRunning
from shared.turns.command import AnsweredTurn, Progress, TurnOpened
from tests.support.net import FOUNDRY, KEY, VLLM, Net, model_settings

ML = MLConfig(
    foundry_agent_service_endpoint=f"https://{FOUNDRY}/openai/v1", foundry_agent_service_api_key=KEY
)


@pytest.fixture
async def orchestrator(net: Net) -> AsyncIterator[ModelOrchestrator]:
    async with ModelOrchestrator(ML, models=model_settings(), http=net) as orchestrator:
        yield orchestrator


@pytest.mark.parametrize("package", [shared.orchestration, shared.ml])
def test_the_public_names_are_sorted_and_there(package: object) -> None:
    names: list[str] = package.__all__  # pyright: ignore[reportAttributeAccessIssue]
    assert sorted(names) == names
    assert all(hasattr(package, name) for name in names)


def test_the_documented_model_types_are_there() -> None:
    documented = "vllm azure_ml openai agent_framework local_model foundry_agent_service"
    assert set(documented.split()) <= set(ModelType)
    assert ModelType("vllm") is ModelType.VLLM


async def test_a_result_has_the_documented_keys(orchestrator: ModelOrchestrator) -> None:
    result = await orchestrator.process_model_request(
        model_type=ModelType.FOUNDRY_AGENT_SERVICE,
        domain="leadership",
        user_input="Hi",
        conversation_id="conv-001",
        temperature=0.1,
    )
    assert result["success"] is True
    assert result["reply"] == "You said: Hi"
    assert (result["conversationId"], result["domain"]) == ("conv-001", "leadership")
    assert result["source"] == result["model_type"] == "foundry_agent_service"
    assert result["thread_id"].startswith("thread_")
    assert result["model"] == "llama-3.3-70b"
    assert (result["agent_id"], result["tools_used"]) == (None, [])
    assert result["execution_time"] > 0
    assert datetime.fromisoformat(result["timestamp"]).tzinfo


async def test_a_failure_is_a_result_with_the_same_keys(
    orchestrator: ModelOrchestrator, net: Net
) -> None:
    good = await orchestrator.process_model_request("vllm", "general", "Hi", "c")
    net.fail(VLLM, httpx.Response(400, json={"error": {"message": "No."}}))
    bad = await orchestrator.process_model_request("vllm", "general", "Hi", "c")
    assert bad.keys() == good.keys() | {"error_code"}
    assert (bad["success"], bad["reply"], bad["source"]) == (False, "", "model_orchestrator")
    assert bad["error_code"] == "invalid_request"
    assert bad["attempts"] == [{"model_type": "vllm", "error_code": "invalid_request"}]


async def test_what_is_not_configured_is_told_in_the_documented_words() -> None:
    async with ModelOrchestrator(MLConfig(), models=ModelSettings()) as orchestrator:
        result = await orchestrator.process_model_request(
            ModelType.FOUNDRY_AGENT_SERVICE, "general", "Hi", "c"
        )
        assert result["error_code"] == "configuration_error"
        assert result["error"].startswith("Foundry Agent Service endpoint URL not configured")
        with pytest.raises(ConfigurationError, match="No model is configured"):
            await orchestrator.select_optimal_model("general")


async def test_foundry_can_be_switched_off(net: Net) -> None:
    off = ML.model_copy(update={"enable_foundry_agent_service": False})
    async with ModelOrchestrator(off, models=model_settings(), http=net) as orchestrator:
        assert await orchestrator.select_optimal_model("general") is ModelType.VLLM


async def test_an_unknown_option_is_named(orchestrator: ModelOrchestrator) -> None:
    with pytest.raises(TypeError, match="mentor_mode"):
        await orchestrator.process_model_request("vllm", "general", "Hi", "c", mentor_mode=True)
    with pytest.raises(ValueError, match="gpt"):
        await orchestrator.process_model_request("gpt", "general", "Hi", "c")


async def test_a_wrong_configuration_is_told_at_the_start() -> None:
    wrong = MLConfig(
        foundry_agent_service_endpoint="https://a.services.ai.azure.com/api/projects/p",
        foundry_agent_service_api_key="k",
    )
    with pytest.raises(ValueError, match="takes Entra tokens only"):
        await ModelOrchestrator(wrong, models=ModelSettings()).initialize()


async def test_turns_of_one_conversation_wait_for_each_other(
    orchestrator: ModelOrchestrator, net: Net
) -> None:
    texts = [f"message {number}" for number in range(10)]
    asked = [orchestrator.process_model_request("vllm", "general", text, "c") for text in texts]
    results = await asyncio.gather(*asked)
    assert [result["reply"] for result in results] == [f"You said: {text}" for text in texts]
    assert [len(body["messages"]) for body in net.asked(VLLM)] == [1 + 2 * n for n in range(10)]


async def test_a_message_can_be_streamed(orchestrator: ModelOrchestrator) -> None:
    stream = orchestrator.stream_model_request("vllm", "general", "one two", "c")
    events = [event async for event in stream]
    assert isinstance(events[-1], AnsweredTurn)
    text = "".join(event.text for event in events if isinstance(event, MessageDelta))
    assert text == events[-1].result.content == "You said: one two"


async def test_a_stream_begins_with_the_turn_however_long_that_takes(
    orchestrator: ModelOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where conversations are stored, a stream without events sends a sign of life."""
    opened = TurnOpened("turn_1", "thread_1")

    async def stream(*_: object) -> AsyncIterator[Progress]:
        for event in (StillRunning(), opened, StillRunning()):
            yield event

    monkeypatch.setattr(MemoryTurns, "stream", stream)
    events = orchestrator.stream_model_request("vllm", "general", "Hi", "c")
    assert [event async for event in events] == [opened]


async def test_metrics_are_by_model(orchestrator: ModelOrchestrator) -> None:
    await orchestrator.process_model_request("vllm", "general", "Hi", "c")
    metrics = orchestrator.get_metrics()
    assert metrics["vllm"]["total_requests"] == 1
    assert metrics["foundry_agent_service"]["circuit"] == "closed"


async def test_circuits_can_be_seen(orchestrator: ModelOrchestrator, net: Net) -> None:
    net.down(VLLM, httpx.Response(503, json={}))
    for number in range(FAILURES_TO_OPEN):
        await orchestrator.process_model_request("vllm", "general", "Hi", str(number))
    assert orchestrator.breaker_states() == {
        "foundry_agent_service": "closed",
        "vllm": "open",
        "openai": "closed",
    }
