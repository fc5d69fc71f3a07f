"""The seven requests by which Open Responses judges a service, and its answers' strict types.

https://www.openresponses.org/compliance names them: basic-response, streaming-response,
system-prompt, tool-calling, tool-calling-streaming, image-input and multi-turn.
"""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.served import Deployment
from tests.support.waiting import eventually

MODEL = "llama-3.3-70b"
SEEING = "gpt-4.1"
"""Takes images."""
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
REQUIRED = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model"),
    *("previous_response_id", "instructions", "output", "error", "tools", "tool_choice"),
    *("truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty"),
    *("frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
    *("safety_identifier", "prompt_cache_key"),
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}
CALL = '/call get_weather {"location": "San Francisco, CA"}'


def checked(document: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    """A response that has every member, each of its strict type."""
    assert document.keys() >= REQUIRED
    Response.model_validate(document, strict=True)
    assert document["status"] == status
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        assert isinstance(document[name], float)
    return document


async def respond(caller: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await caller.post("v1/responses", json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    return checked(answer.json())


async def events_of(lines: AsyncIterator[str]) -> list[dict[str, Any]]:
    """The events of a stream, each with the type that its line names."""
    events: list[dict[str, Any]] = []
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            assert event["type"] == name
            events.append(event)
    return events


async def streamed(caller: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream in their order, each of its strict type; the last one ends it."""
    asked = {"model": MODEL, "stream": True, **body}
    async with caller.stream("POST", "v1/responses", json=asked) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = await events_of(answer.aiter_lines())
    for event in events:
        EVENT.validate_python(event, strict=True)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    ends = {"response.completed", "response.incomplete", "response.failed"}
    assert [event["type"] in ends for event in events].index(True) == len(events) - 1
    checked(events[-1]["response"])
    return events


def text_of(response: dict[str, Any]) -> str:
    (message,) = [item for item in response["output"] if item["type"] == "message"]
    return message["content"][0]["text"]


async def test_basic_response(caller: httpx.AsyncClient) -> None:
    response = await respond(
        caller, input=[{"type": "message", "role": "user", "content": "Say hello in 3 words."}]
    )
    assert text_of(response)
    assert response["id"].startswith("resp_")
    assert response["usage"]["total_tokens"] > 0


async def test_streaming_response(caller: httpx.AsyncClient) -> None:
    message = {"type": "message", "role": "user", "content": "Count from 1 to 5."}
    events = await streamed(caller, input=[message])
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    text = "".join(event["delta"] for event in events[4:-4])
    assert text == events[-4]["text"] == text_of(events[-1]["response"])


async def test_system_prompt(caller: httpx.AsyncClient) -> None:
    system = {"type": "message", "role": "system", "content": "Talk like a pirate."}
    user = {"type": "message", "role": "user", "content": "Say hello."}
    assert text_of(await respond(caller, input=[system, user]))
    response = await respond(caller, input="Say hello.", instructions="Talk like a pirate.")
    assert response["instructions"] == "Talk like a pirate."


async def test_tool_calling(caller: httpx.AsyncClient) -> None:
    response = await respond(caller, input=CALL, tools=[WEATHER])
    (call,) = [item for item in response["output"] if item["type"] == "function_call"]
    assert (call["name"], call["status"]) == ("get_weather", "completed")
    assert json.loads(call["arguments"]) == {"location": "San Francisco, CA"}
    assert call["id"].startswith("fc_")
    assert response["tools"][0]["name"] == "get_weather"


async def test_tool_calling_streaming(caller: httpx.AsyncClient) -> None:
    events = await streamed(caller, input=CALL, tools=[WEATHER])
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert "function_call_arguments.delta" in kinds
    done = events[kinds.index("function_call_arguments.done")]
    assert json.loads(done["arguments"]) == {"location": "San Francisco, CA"}
    (call,) = events[-1]["response"]["output"]
    assert (call["name"], call["arguments"]) == ("get_weather", done["arguments"])


async def test_image_input(deployment: Deployment, tmp_path: Path) -> None:
    parts = [
        {"type": "input_text", "text": "What do you see? Answer in one sentence."},
        {"type": "input_image", "image_url": f"data:image/png;base64,{_png()}"},
    ]
    message = {"type": "message", "role": "user", "content": parts}
    with deployment.serve(tmp_path, FOUNDRY_ALLOWED_MODELS="*") as app:
        async with httpx.AsyncClient(base_url=f"{app.url}/api/", timeout=30) as caller:
            assert text_of(await respond(caller, input=[message], model=SEEING))
            await check_a_model_that_foundry_lacks(caller)


async def check_a_model_that_foundry_lacks(caller: httpx.AsyncClient) -> None:
    """Any name may be asked for, so only Foundry knows that there is no such model."""
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("v1/chat/completions", chat),
        ("v1/chat/completions", {**chat, "stream": True}),
        ("v1/responses", {"input": "Hi"}),
        ("v1/responses", {"input": "Hi", "stream": True}),
    ]
    for path, body in asked:
        answer = await caller.post(path, json={**body, "model": "gpt-0"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (
            *(404, "model_not_found"),
            "model",
        )
        assert answer.headers["x-should-retry"] == "false"
    native = await caller.post("messages", json={"message": "Hi", "model": "gpt-0"})
    problem = native.json()
    assert (native.status_code, problem["code"]) == (404, "model_not_found")
    assert problem["errors"][0]["field"] == "model"


async def test_multi_turn(caller: httpx.AsyncClient) -> None:
    said = ["My name is Alice.", "Hello Alice! How can I help you?", "What is my name?"]
    roles = ["user", "assistant", "user"]
    messages: list[dict[str, Any]] = [
        {"type": "message", "role": role, "content": text}
        for role, text in zip(roles, said, strict=True)
    ]
    messages[1]["content"] = [{"type": "output_text", "text": said[1], "annotations": []}]
    assert text_of(await respond(caller, input=messages))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_continues_another_with_its_calls(
    caller: httpx.AsyncClient, stream: bool
) -> None:
    first = await respond(caller, input=CALL, tools=[WEATHER])
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "foggy"}
    body = {"input": [output], "previous_response_id": first["id"], "tools": [WEATHER]}
    if stream:
        second = (await streamed(caller, **body))[-1]["response"]
    else:
        second = await respond(caller, **body)
    assert "foggy" in text_of(second)
    assert second["previous_response_id"] == first["id"]
    third = await respond(caller, input="And now?", previous_response_id=second["id"])
    assert text_of(third)
    wrong = {**output, "call_id": "call_of_another"}
    body = {"model": MODEL, "input": [wrong], "previous_response_id": first["id"]}
    refused = await caller.post("v1/responses", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


async def test_a_stored_response_is_read_listed_and_deleted(caller: httpx.AsyncClient) -> None:
    made = await respond(caller, input="Hi", metadata={"a": "b"})
    address = f"v1/responses/{made['id']}"
    assert (await caller.get(address)).json() == made
    items = (await caller.get(f"{address}/input_items")).json()
    (item,) = items["data"]
    assert item["content"] == [{"type": "input_text", "text": "Hi"}]
    assert item["id"].startswith("msg_")
    assert items["has_more"] is False
    assert (await caller.delete(address)).json()["deleted"] is True
    for method, path in (("GET", address), ("DELETE", address), ("GET", f"{address}/input_items")):
        assert (await caller.request(method, path)).status_code == 404
    body = {"model": MODEL, "input": "Hi", "previous_response_id": made["id"]}
    refused = (await caller.post("v1/responses", json=body)).json()["error"]
    assert refused["param"] == "previous_response_id"


async def test_a_stream_is_read_again_from_any_event(caller: httpx.AsyncClient) -> None:
    events = await streamed(caller, input="Say a few words about the sea.")
    address = f"v1/responses/{events[0]['response']['id']}"
    for after in (None, 0, 4, len(events) - 2):
        query = {"stream": "true", **({} if after is None else {"starting_after": str(after)})}
        async with caller.stream("GET", address, params=query) as answer:
            again = await events_of(answer.aiter_lines())
        assert again == events[0 if after is None else after + 1 :]


async def test_what_is_not_stored_cannot_be_read(caller: httpx.AsyncClient) -> None:
    made = await respond(caller, input="Hi", store=False)
    assert made["store"] is False
    assert (await caller.get(f"v1/responses/{made['id']}")).status_code == 404


async def test_an_item_is_named_instead_of_sent_again(caller: httpx.AsyncClient) -> None:
    first = await respond(caller, input=CALL, tools=[WEATHER])
    (call,) = first["output"]
    items = [
        {"role": "user", "content": CALL},
        {"type": "item_reference", "id": call["id"]},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "foggy"},
    ]
    assert "foggy" in text_of(await respond(caller, input=items, tools=[WEATHER]))


def _png() -> str:
    """A red square of 16 pixels."""
    rows = (b"\0" + b"\xff\0\0" * 16) * 16
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


async def ended(caller: httpx.AsyncClient, response_id: str) -> dict[str, Any]:
    """A response in the background when it has ended."""

    async def look() -> dict[str, Any] | None:
        read = (await caller.get(f"v1/responses/{response_id}")).json()
        return None if read["status"] in {"queued", "in_progress"} else read

    return await eventually(look)


async def test_a_response_in_the_background_is_a_job(caller: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "input": CALL, "tools": [WEATHER], "background": True}
    begun = (await caller.post("v1/responses", json=body)).json()
    checked(begun, "queued")
    made = checked(await ended(caller, begun["id"]))
    (call,) = made["output"]
    assert (call["name"], made["background"]) == ("get_weather", True)
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "foggy"}
    again = await respond(
        caller, input=[output], previous_response_id=made["id"], tools=[WEATHER], background=False
    )
    assert "foggy" in text_of(again)
    assert (await caller.post(f"v1/responses/{made['id']}/cancel")).json() == made
    assert (await caller.delete(f"v1/responses/{made['id']}")).is_success
    assert (await caller.get(f"v1/responses/{made['id']}")).status_code == 404


async def test_a_response_in_the_background_is_followed(caller: httpx.AsyncClient) -> None:
    events = await streamed(caller, input="Hi", background=True)
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    address = f"v1/responses/{events[0]['response']['id']}"
    query = {"stream": "true", "starting_after": "4"}
    async with caller.stream("GET", address, params=query) as answer:
        assert await events_of(answer.aiter_lines()) == events[5:]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"background": True, "store": False}, "background"),
        ({"previous_response_id": "resp_x", "conversation": "conv_x"}, "conversation"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, None),
        ({"temperature": 3}, "temperature"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format"),
        ({"previous_response_id": f"resp_{'0' * 26}"}, "previous_response_id"),
    ],
)
async def test_what_cannot_be_done_names_the_field(
    caller: httpx.AsyncClient, body: dict[str, Any], param: str | None
) -> None:
    answer = await caller.post("v1/responses", json={"model": MODEL, "input": "Hi", **body})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == (param or "input[0].content[0].type")
    assert answer.headers["x-should-retry"] == "false"


async def test_what_has_no_effect_is_named(caller: httpx.AsyncClient) -> None:
    body = {
        "model": MODEL,
        "input": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "user", "content": "Hi", "mood": "glad"},
        ],
        "include": ["reasoning.encrypted_content"],
        "client_metadata": {"a": 1},
        "tools": [{"type": "image_generation"}],
        "max_output_tokens": 10_000_000,
    }
    answer = await caller.post("v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    named = answer.headers["x-ignored-params"].split(", ")
    assert set(named) >= {"include", "client_metadata", "input.reasoning", "input.mood"}
    assert set(named) >= {"tools.image_generation", "max_output_tokens"}
