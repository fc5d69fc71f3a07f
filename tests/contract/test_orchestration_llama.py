"""The chat-completions backend against llama.cpp's own server, with a real small model."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.model.smollm2 import find_weights
from shared.config import MLConfig, ModelSettings
from shared.foundry.events import MessageDelta
from shared.orchestration import ModelOrchestrator, ModelType
from shared.turns.command import AnsweredTurn

CONTEXT_TOKENS = 512
FEW = {"max_tokens": 16, "temperature": 0.0}
CAPITAL = "What is the capital of France? Answer in one word."


@pytest.fixture(scope="module")
async def server_url() -> AsyncIterator[str]:
    """llama.cpp's OpenAI-compatible server, in threads of this process."""
    xllamacpp: Any = importlib.import_module("xllamacpp")
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(find_weights())
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    parameters.verbosity = 0
    holder = [await asyncio.to_thread(xllamacpp.Server, parameters)]
    yield str(holder[0].listening_address)
    await asyncio.to_thread(holder.clear)


@pytest.fixture(scope="module", params=["vllm", "openai"])
async def orchestrator(
    request: pytest.FixtureRequest, server_url: str
) -> AsyncIterator[tuple[ModelOrchestrator, ModelType]]:
    """The same server, reached as vLLM and as OpenAI."""
    kind = ModelType(request.param)
    if kind is ModelType.VLLM:
        models = ModelSettings(vllm_server_url=server_url, vllm_context_tokens=CONTEXT_TOKENS)
    else:
        models = ModelSettings(
            openai_api_key="any",
            openai_base_url=f"{server_url}/v1",
            openai_context_tokens=CONTEXT_TOKENS,
        )
    async with ModelOrchestrator(MLConfig(), models=models) as orchestrator:
        yield orchestrator, kind


async def test_it_answers(orchestrator: tuple[ModelOrchestrator, ModelType]) -> None:
    ours, kind = orchestrator
    result = await ours.process_model_request(kind, "general", CAPITAL, "whole", **FEW)
    assert result["success"], result["error"]
    assert "Paris" in result["reply"]
    assert result["source"] == kind
    assert result["model"]
    usage = result["usage"]
    assert 0 < usage["output_tokens"] <= FEW["max_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_it_streams(orchestrator: tuple[ModelOrchestrator, ModelType]) -> None:
    ours, kind = orchestrator
    stream = ours.stream_model_request(kind, "general", CAPITAL, "streamed", **FEW)
    events = [event async for event in stream]
    pieces = [event.text for event in events if isinstance(event, MessageDelta)]
    assert isinstance(events[-1], AnsweredTurn)
    result = events[-1].result
    assert len(pieces) > 1
    assert "".join(pieces) == result.content
    assert "Paris" in result.content
    assert result.usage["output_tokens"] >= len(pieces) - 1


async def test_the_history_is_in_the_prompt(
    orchestrator: tuple[ModelOrchestrator, ModelType],
) -> None:
    ours, kind = orchestrator
    one = await ours.process_model_request(kind, "general", "My name is Ada.", "history", **FEW)
    two = await ours.process_model_request(kind, "general", "What is my name?", "history", **FEW)
    alone = await ours.process_model_request(kind, "general", "What is my name?", "alone", **FEW)
    grown = two["usage"]["input_tokens"] - alone["usage"]["input_tokens"]
    assert grown >= one["usage"]["output_tokens"]


async def test_a_history_longer_than_the_context_is_trimmed_to_fit(
    orchestrator: tuple[ModelOrchestrator, ModelType],
) -> None:
    """Untrimmed, these turns have half as many tokens again as the server takes."""
    ours, kind = orchestrator
    text = "The quick brown fox jumps over the lazy dog. " * 12
    result: dict[str, Any] = {}
    for _ in range(7):
        result = await ours.process_model_request(
            kind, "general", text, "long", max_tokens=1, temperature=0.0
        )
        assert result["success"], result["error"]
    assert 150 < result["usage"]["input_tokens"] < CONTEXT_TOKENS


async def test_what_the_server_refuses_is_told(
    orchestrator: tuple[ModelOrchestrator, ModelType],
) -> None:
    ours, kind = orchestrator
    result = await ours.process_model_request(kind, "general", "word " * 1000, "big", **FEW)
    assert (result["success"], result["error_code"]) == (False, "invalid_request")
    assert "context" in result["error"]


async def test_it_is_healthy(orchestrator: tuple[ModelOrchestrator, ModelType]) -> None:
    ours, kind = orchestrator
    assert await ours.select_optimal_model("general") is kind
