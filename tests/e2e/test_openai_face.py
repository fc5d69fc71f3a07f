"""The OpenAI-compatible face, called with the official client."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from local.services import FunctionsHost

MODEL = "llama-3.3-70b"


@pytest.fixture
async def client(app: FunctionsHost) -> AsyncIterator[openai.AsyncOpenAI]:
    base = f"{app.url}/api/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0) as client:
        yield client


async def test_models_are_listed_and_can_be_shown(client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert MODEL in [model.id for model in listed]
    for model in listed:
        assert await client.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-0")
    assert caught.value.code == "model_not_found"


async def test_a_conversation_is_answered(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Say hello again"},
        ],
        seed=1,
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens > 0
    assert answer.id.startswith("chatcmpl-")


async def test_the_same_is_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage and chunks[-1].usage.total_tokens > 0) == (
        [],
        True,
    )


async def test_errors_name_the_field(client: openai.AsyncOpenAI) -> None:
    for wrong, param in (({"n": 2}, "n"), ({"temperature": 3}, "temperature")):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hi"}], **wrong
            )
        assert caught.value.param == param
        assert caught.value.request_id


async def test_an_unknown_address_lists_those_there_are(caller: httpx.AsyncClient) -> None:
    answer = await caller.post("v1/embeddings", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert "POST /api/v1/chat/completions" in answer.json()["error"]["message"]
