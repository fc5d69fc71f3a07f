"""Conversations of the OpenAI-compatible face, with the official client."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.conversations import ConversationItem
from pydantic import TypeAdapter

from local.services import FunctionsHost
from tests.support.served import EmulatorControl

MODEL = "llama-3.3-70b"
ITEM: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)
WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
CALL = "/call get_weather {}"


@pytest.fixture
async def client(app: FunctionsHost) -> AsyncIterator[openai.AsyncOpenAI]:
    base = f"{app.url}/api/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0) as client:
        yield client


async def test_a_conversation_lives_and_is_a_thread(
    client: openai.AsyncOpenAI, caller: httpx.AsyncClient
) -> None:
    made = await client.conversations.create(
        metadata={"topic": "sea"}, items=[{"role": "user", "content": "I am Ada."}]
    )
    assert (await client.conversations.retrieve(made.id)) == made
    changed = await client.conversations.update(made.id, metadata={"topic": "land"})
    assert changed.metadata == {"topic": "land"}
    thread = (await caller.get(f"threads/thread_{made.id.removeprefix('conv_')}")).json()
    assert thread["metadata"] == {"topic": "land"}
    answer = await client.responses.create(model=MODEL, input="Hi", conversation=made.id)
    assert answer.output_text
    assert answer.conversation
    assert answer.conversation.id == made.id
    page = await client.conversations.items.list(made.id, order="asc", limit=2)
    items = [item async for item in page]
    assert [getattr(item, "role", None) for item in items] == ["user", "user", "assistant"]
    first = items[0].id or ""
    assert await client.conversations.items.retrieve(first, conversation_id=made.id)
    assert (await client.conversations.delete(made.id)).deleted
    for read in (client.conversations.retrieve(made.id), client.responses.retrieve(answer.id)):
        with pytest.raises(openai.NotFoundError):
            await read


async def test_a_session_adds_and_takes_back_items(
    client: openai.AsyncOpenAI, emulator: EmulatorControl
) -> None:
    made = await client.conversations.create()
    items: Any = [
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    ]
    added = await client.conversations.items.create(made.id, items=items)
    for item in added.data:
        ITEM.validate_python(item.model_dump(), strict=True)
    assert [item.type for item in added.data] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    newest = (await client.conversations.items.list(made.id, order="desc", limit=1)).data[0]
    assert newest.id == added.data[-1].id
    await client.conversations.items.delete(newest.id or "", conversation_id=made.id)
    left = [item async for item in await client.conversations.items.list(made.id, order="asc")]
    assert [item.id for item in left] == [item.id for item in added.data[:-1]]
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(newest.id or "", conversation_id=made.id)
    other = await client.conversations.create()
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(left[0].id or "", conversation_id=other.id)


async def test_an_unanswered_call_does_not_break_a_conversation(
    client: openai.AsyncOpenAI,
) -> None:
    made = await client.conversations.create()
    asked: dict[str, Any] = {"model": MODEL, "conversation": made.id, "tools": [WEATHER]}
    first = await client.responses.create(**asked, input=CALL)
    (call,) = first.output
    assert call.type == "function_call"
    output = {"type": "function_call_output", "output": "sunny"}
    unknown: list[Any] = [{**output, "call_id": "another"}]
    known: list[Any] = [{**output, "call_id": call.call_id}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(**asked, input=unknown)
    assert caught.value.param == "input"
    done = await client.responses.create(**asked, input=known)
    assert "sunny" in done.output_text
    await client.responses.create(**asked, input=CALL)
    assert (await client.responses.create(**asked, input="Never mind")).output_text
