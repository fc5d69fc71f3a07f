"""The real embedded model behind the emulator."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from local.model.smollm2 import MAX_ANSWER_TOKENS
from tests.e2e.test_example import run_example

from .conftest import TOKEN, Emulator, running_emulator, text_of, turn

FEW_TOKENS = {"max_output_tokens": 24, "temperature": 0.0}


@pytest.fixture(scope="module")
async def embedded() -> AsyncIterator[Emulator]:
    async with running_emulator(environment={"FOUNDRY_LOCAL_BACKEND": ""}) as emulator:
        yield emulator


@pytest.fixture
async def client(embedded: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=embedded.openai + "/", headers={"authorization": f"Bearer {TOKEN}"}, timeout=100
    ) as client:
        yield client


async def test_it_streams_an_answer_in_pieces(client: httpx.AsyncClient) -> None:
    body = turn("What is the capital of France?", stream=True, **FEW_TOKENS)
    async with client.stream("POST", "responses", json=body) as response:
        names = [line async for line in response.aiter_lines() if line.startswith("event: ")]
    assert names.count("event: response.output_text.delta") > 3
    assert names[-1] in {"event: response.completed", "event: response.incomplete"}


async def test_the_history_is_in_the_second_prompt(client: httpx.AsyncClient) -> None:
    conversation = (await client.post("conversations", json={})).json()["id"]
    first_turn = turn("My name is Ada.", conversation=conversation, **FEW_TOKENS)
    first = (await client.post("responses", json=first_turn)).json()
    assert text_of(first)
    assert 0 < first["usage"]["output_tokens"] <= 24
    second_turn = turn("What is my name?", conversation=conversation, **FEW_TOKENS)
    second = (await client.post("responses", json=second_turn)).json()
    alone = (await client.post("responses", json=turn("What is my name?", **FEW_TOKENS))).json()
    history = first["usage"]["output_tokens"] + len(["My", "name", "is", "Ada."])
    assert second["usage"]["input_tokens"] >= alone["usage"]["input_tokens"] + history


async def test_it_is_bound_by_a_json_schema(client: httpx.AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"enum": ["Paris", "Rome"]}},
        "required": ["capital"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "name": "capital", "schema": schema}}
    body = turn("What is the capital of France?", text=form, temperature=0.0)
    answer = (await client.post("responses", json=body)).json()
    assert "capital" in text_of(answer)
    assert answer["status"] == "completed"


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("What is the capital of France?", "Paris"),
        ("Why is the sky blue?", "light"),
        ("Tell me a short story.", ""),
        ("Write a haiku about queues.", ""),
        ("Name three rivers in Europe.", "Danube"),
    ],
)
async def test_a_documented_question_gets_an_answer_that_does_not_loop(
    client: httpx.AsyncClient, question: str, part: str
) -> None:
    answer = (await client.post("responses", json=turn(question, temperature=0.7))).json()
    text = text_of(answer)
    assert part in text
    assert answer["usage"]["output_tokens"] <= MAX_ANSWER_TOKENS
    words = text.split()
    phrases = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    assert max(phrases.values(), default=0) < 4, text


async def test_it_knows_the_name_that_it_was_given(client: httpx.AsyncClient) -> None:
    conversation = (await client.post("conversations", json={})).json()["id"]
    for text in ("My name is Ada.", "What is my name?"):
        body = turn(text, conversation=conversation, temperature=0.7, top_p=0.9)
        answer = (await client.post("responses", json=body)).json()
    assert "Ada" in text_of(answer)


async def test_an_answer_is_short_whatever_is_asked_for(client: httpx.AsyncClient) -> None:
    body = turn("Count to a thousand.", max_output_tokens=4096, temperature=1.0)
    answer = (await client.post("responses", json=body)).json()
    assert answer["usage"]["output_tokens"] <= MAX_ANSWER_TOKENS


async def test_questions_after_a_pause_are_answered(client: httpx.AsyncClient) -> None:
    """llama.cpp closes connections that were idle for five seconds."""
    for pause in (0, 5.0, 5.1):
        await asyncio.sleep(pause)
        answer = (await client.post("responses", json=turn("Hello!", **FEW_TOKENS))).json()
        assert answer["status"] in {"completed", "incomplete"}, answer


async def test_the_example_ends_beside_it(embedded: Emulator) -> None:
    """All that examples/ does, against the model that `make run` starts."""
    started = time.monotonic()
    code, out, err = await run_example(
        FOUNDRY_AGENT_SERVICE_ENDPOINT=embedded.origin,
        FOUNDRY_AGENT_SERVICE_API_KEY="local-key",
    )
    print(f"the example took {time.monotonic() - started:.1f} s")  # noqa: T201 - for the reader
    assert code == 0, err
    assert "the service answers" in out
