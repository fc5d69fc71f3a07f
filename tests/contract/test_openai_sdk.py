"""The `openai` package, as a client of the project path, does every operation it has."""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import FunctionToolParam

from .conftest import DEPLOYMENT, message

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


async def ask(client: AsyncOpenAI, said: str, **more: Any) -> Any:
    create: Any = client.responses.create  # its overloads cannot be chosen by `more`
    return await create(model=DEPLOYMENT, input=[message(said)], **more)


async def test_conversation_lifecycle(openai_client: AsyncOpenAI) -> None:
    conversations = openai_client.conversations
    created = await conversations.create(metadata={"topic": "a"}, items=[message("hello")])
    assert created.id.startswith("conv_")
    assert created.object == "conversation"
    assert (await conversations.retrieve(created.id)).metadata == {"topic": "a"}
    updated = await conversations.update(created.id, metadata={"topic": "b"})
    assert updated.metadata == {"topic": "b"}
    deleted = await conversations.delete(created.id)
    assert deleted.deleted is True
    assert deleted.object == "conversation.deleted"
    with pytest.raises(openai.NotFoundError) as missing:
        await conversations.retrieve(created.id)
    assert missing.value.code == "not_found"
    assert missing.value.request_id


async def test_items_lifecycle_and_paging(openai_client: AsyncOpenAI) -> None:
    items = openai_client.conversations.items
    conversation = (await openai_client.conversations.create()).id
    made = await items.create(conversation, items=[message(str(n)) for n in range(5)])
    ids = [item.id for item in made.data]
    assert [item.id async for item in await items.list(conversation, limit=2)] == ids[::-1]
    ascending = [i.id async for i in await items.list(conversation, limit=2, order="asc")]
    assert ascending == ids
    after = await items.list(conversation, order="asc", after=ids[2] or "")
    assert [item.id for item in after.data] == ids[3:]
    found = await items.retrieve(ids[0] or "", conversation_id=conversation)
    assert found.type == "message"
    assert found.status == "completed"
    assert (await items.delete(ids[0] or "", conversation_id=conversation)).id == conversation
    with pytest.raises(openai.NotFoundError):
        await items.retrieve(ids[0] or "", conversation_id=conversation)


async def test_a_conversation_remembers(openai_client: AsyncOpenAI) -> None:
    conversation = (await openai_client.conversations.create()).id
    first = await ask(openai_client, "My name is Ada.", conversation=conversation)
    assert first.status == "completed"
    assert first.conversation.id == conversation
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens > 0
    second = await ask(openai_client, "What is my name?", conversation=conversation)
    assert second.output_text == "Your name is Ada."
    assert second.usage.input_tokens > first.usage.input_tokens
    stored = await openai_client.conversations.items.list(conversation, order="asc")
    assert [getattr(i, "role", None) for i in stored.data] == ["user", "assistant"] * 2


async def test_a_chain_of_responses_remembers(openai_client: AsyncOpenAI) -> None:
    first = await ask(openai_client, "My name is Grace.")
    second = await ask(openai_client, "What is my name?", previous_response_id=first.id)
    assert second.output_text == "Your name is Grace."
    assert second.previous_response_id == first.id


async def test_response_lifecycle(openai_client: AsyncOpenAI) -> None:
    responses = openai_client.responses
    created = await ask(openai_client, "hello", metadata={"k": "v"}, temperature=0.5)
    stored = await responses.retrieve(created.id)
    assert stored.output_text == created.output_text == "You said: hello"
    assert stored.metadata == {"k": "v"}
    assert stored.temperature == 0.5
    inputs = await responses.input_items.list(created.id)
    assert [item.type for item in inputs.data] == ["message"]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await responses.cancel(created.id)
    await responses.delete(created.id)
    with pytest.raises(openai.NotFoundError):
        await responses.retrieve(created.id)


async def test_an_unstored_response_is_gone(openai_client: AsyncOpenAI) -> None:
    created = await ask(openai_client, "hello", store=False)
    with pytest.raises(openai.NotFoundError):
        await openai_client.responses.retrieve(created.id)


async def test_streaming_gives_the_text_and_the_final_response(openai_client: AsyncOpenAI) -> None:
    async with openai_client.responses.stream(
        model=DEPLOYMENT, input=[message("/words 4")]
    ) as stream:
        deltas = [e.delta async for e in stream if e.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text == "word1 word2 word3 word4"
    assert final.usage is not None
    assert final.usage.output_tokens == 4


async def test_max_output_tokens_makes_it_incomplete(openai_client: AsyncOpenAI) -> None:
    cut = await ask(openai_client, "/words 50", max_output_tokens=16)
    assert cut.status == "incomplete"
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert len(cut.output_text.split()) == 16


async def test_output_filter_makes_it_incomplete(openai_client: AsyncOpenAI) -> None:
    filtered = await ask(openai_client, "/filter")
    assert filtered.status == "incomplete"
    assert filtered.incomplete_details.reason == "content_filter"


async def test_a_refusal_is_its_own_part(openai_client: AsyncOpenAI) -> None:
    refused = await ask(openai_client, "/refuse")
    assert refused.output[0].content[0].type == "refusal"
    assert refused.output_text == ""


async def test_json_schema_is_honoured(openai_client: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3}, "s": {"enum": ["a", "b"]}},
        "required": ["n", "s"],
    }
    text_format = {"type": "json_schema", "name": "answer", "schema": schema}
    answer = await ask(openai_client, "/json", text={"format": text_format})
    assert answer.output_text == '{"n": 3, "s": "a"}'
    assert answer.text.format.type == "json_schema"


async def test_parallel_function_calls_and_their_outputs(openai_client: AsyncOpenAI) -> None:
    conversation = (await openai_client.conversations.create()).id
    text = '/call weather {"city": "Oslo"}\n/call weather {"city": "Rome"}'
    asked = await ask(openai_client, text, conversation=conversation, tools=[WEATHER])
    assert [item.type for item in asked.output] == ["function_call"] * 2
    assert asked.status == "completed"
    assert [call.arguments for call in asked.output] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    with pytest.raises(openai.BadRequestError) as unanswered:
        await ask(openai_client, "and?", conversation=conversation, tools=[WEATHER])
    first = asked.output[0].call_id
    assert f"No tool output found for function call {first}." in str(unanswered.value)
    answered = await openai_client.responses.create(
        model=DEPLOYMENT,
        conversation=conversation,
        tools=[WEATHER],
        input=[
            {"type": "function_call_output", "call_id": call.call_id, "output": output}
            for call, output in zip(asked.output, ["snow", "sun"], strict=True)
        ],
    )
    assert answered.output_text == "weather answered: snow\nweather answered: sun"


async def test_an_output_without_its_call_is_refused(openai_client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await openai_client.responses.create(
            model=DEPLOYMENT,
            input=[{"type": "function_call_output", "call_id": "call_x", "output": "1"}],
        )
    assert "No tool call found for function call output with call_id call_x" in str(refused.value)
    assert refused.value.param == "input"


async def test_background_is_queued_then_completed(openai_client: AsyncOpenAI) -> None:
    queued = await ask(openai_client, "hello", background=True)
    assert queued.status == "queued"
    found = queued
    async with asyncio.timeout(10):
        while found.status != "completed":
            await asyncio.sleep(0.02)
            found = await openai_client.responses.retrieve(queued.id)
    assert found.output_text == "You said: hello"
    with pytest.raises(openai.BadRequestError):
        await openai_client.responses.cancel(queued.id)


async def test_a_background_stream_resumes_after_an_event(openai_client: AsyncOpenAI) -> None:
    stream = await ask(openai_client, "/words 3", background=True, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[1].type == "response.queued"
    again = await openai_client.responses.retrieve(
        events[0].response.id, stream=True, starting_after=4
    )
    assert [event.sequence_number async for event in again] == list(range(5, len(events)))


async def test_unknown_names_are_not_found(openai_client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await openai_client.responses.create(model="nope", input=[message("hi")])
    assert unknown.value.code == "DeploymentNotFound"
    with pytest.raises(openai.BadRequestError, match="Malformed identifier"):
        await openai_client.conversations.retrieve("conv_mine")


async def test_the_input_filter_is_documented_form(openai_client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as blocked:
        await ask(openai_client, "bad [[content_filter]] words")
    assert blocked.value.code == "content_filter"
    assert blocked.value.param == "prompt"
    body: Any = blocked.value.body
    assert body["innererror"]["code"] == "ResponsibleAIPolicyViolation"


async def test_chat_completions_and_models_on_the_resource(emulator: Any) -> None:
    url = f"{emulator.origin}/openai/v1"
    async with AsyncOpenAI(base_url=url, api_key="local-key", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "hello"}]
        whole = await client.chat.completions.create(model=DEPLOYMENT, messages=messages)
        assert whole.choices[0].message.content == "You said: hello"
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        stream = await client.chat.completions.create(
            model=DEPLOYMENT,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "You said: hello"
        assert chunks[-1].usage is not None
        tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {}}}
        asking: Any = [{"role": "user", "content": "/call weather {}"}]
        called = await client.chat.completions.create(
            model=DEPLOYMENT, messages=asking, tools=[tool]
        )
        assert called.choices[0].finish_reason == "tool_calls"
        calls: Any = called.choices[0].message.tool_calls
        assert calls[0].function.name == "weather"
        assert DEPLOYMENT in [model.id async for model in await client.models.list()]
        answer = await client.responses.create(model=DEPLOYMENT, input="plain text")
        assert answer.output_text == "You said: plain text"
        with pytest.raises(openai.NotFoundError):
            await client.conversations.create()
