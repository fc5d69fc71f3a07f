"""The OpenAI-compatible face, called with the official client."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from local.services import ROOT, FunctionsHost

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
    wrong: dict[str, Any]
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


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

ASK = '/call get_weather {"city": "Oslo"}'


async def test_a_tool_of_the_caller_makes_a_round_trip(client: openai.AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": ASK}]
    first = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "get_weather",
        {"city": "Oslo"},
    )
    messages += [
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop"
    assert "sunny" in (second.choices[0].message.content or "")


async def test_a_call_is_streamed_in_parts(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": ASK}], tools=[WEATHER], stream=True
    )
    name, arguments, reasons = "", "", []
    async for chunk in stream:
        choice = chunk.choices[0]
        reasons.append(choice.finish_reason)
        for part in choice.delta.tool_calls or ():
            assert part.index == 0
            assert part.function
            name += part.function.name or ""
            arguments += part.function.arguments or ""
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Oslo"})
    assert reasons[-1] == "tool_calls"


async def test_a_call_without_an_output_does_not_break_the_conversation(
    client: openai.AsyncOpenAI,
) -> None:
    called = {"id": "call_1", "type": "function"}
    function = {"name": "get_weather", "arguments": "{}"}
    messages: list[Any] = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": None, "tool_calls": [{**called, "function": function}]},
        {"role": "user", "content": "Never mind"},
    ]
    answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content
    messages[2] = {"role": "tool", "tool_call_id": "call_2", "content": "sunny"}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=messages)
    assert caught.value.param == "messages"


async def test_the_answer_ends_at_a_stop_sequence(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "one two three"}],
    }
    whole = (await client.chat.completions.create(**asked)).choices[0].message.content or ""
    stop = whole[len(whole) // 2 :][:3]
    expected = whole[: whole.index(stop)]
    answer = await client.chat.completions.create(**asked, stop=stop)
    assert answer.choices[0].message.content == expected
    stream = await client.chat.completions.create(**asked, stop=[stop, "never"], stream=True)
    parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(parts) == expected


async def test_the_documented_example_runs(app: FunctionsHost) -> None:
    page = (ROOT / "docs/openai.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    example = example.replace("https://<app>.azurewebsites.net", app.url)
    example = example.replace("aos_...", "unused")
    printed: list[str] = []
    names: dict[str, Any] = {"print": printed.append}
    await asyncio.to_thread(exec, example, names)
    await asyncio.to_thread(names["client"].close)
    assert printed[0]
