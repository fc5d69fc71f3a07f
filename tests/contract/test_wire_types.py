"""Raw JSON of the emulator against the types of the `openai` package, required fields included."""

import json
from functools import cache
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.conversations import (
    Conversation,
    ConversationDeletedResource,
    ConversationItem,
    ConversationItemList,
)
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

from .conftest import DEPLOYMENT, message, turn

TOOL: dict[str, Any] = {"type": "function", "name": "weather", "parameters": {}, "strict": False}
TEXT_ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
CALL_ORDER = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


def check(wanted: Any, answer: Any) -> None:
    """Validate strictly: every required field must be there with its own type."""
    adapter(wanted).validate_json(json.dumps(answer), strict=True)


@cache
def adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)


async def events_of(client: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    async with client.stream("POST", "responses", json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                assert events[-1]["type"] == name
    return events


async def test_a_missing_field_would_be_noticed(raw: httpx.AsyncClient) -> None:
    answer = (await raw.post("responses", json=turn("hi"))).json()
    del answer["tools"]
    with pytest.raises(ValueError, match="tools"):
        check(Response, answer)


async def test_conversations_and_items(raw: httpx.AsyncClient) -> None:
    created = (await raw.post("conversations", json={"metadata": {"a": "b"}})).json()
    check(Conversation, created)
    path = f"conversations/{created['id']}"
    check(ConversationItemList, (await raw.get(f"{path}/items")).json())
    replayed: dict[str, Any] = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hello", "annotations": []}],
    }
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    items = [message("hi"), replayed, call, output]
    made = (await raw.post(f"{path}/items", json={"items": items})).json()
    check(ConversationItemList, made)
    for item in made["data"]:
        check(ConversationItem, (await raw.get(f"{path}/items/{item['id']}")).json())
    check(Conversation, (await raw.delete(f"{path}/items/{made['first_id']}")).json())
    check(ConversationDeletedResource, (await raw.delete(path)).json())


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("hello", {}),
        ("/refuse", {}),
        ("/filter", {}),
        ("/words 30", {"max_output_tokens": 16}),
        ("/fail", {}),
        ("hello", {"background": True}),
        ("/call weather {}", {"tools": [TOOL], "tool_choice": "required"}),
        ("hello", {"instructions": "Be brief.", "metadata": {"k": "v"}, "top_p": 0.1}),
    ],
)
async def test_responses(raw: httpx.AsyncClient, text: str, more: dict[str, Any]) -> None:
    answer = (await raw.post("responses", json=turn(text, **more))).raise_for_status().json()
    check(Response, answer)
    check(Response, (await raw.get(f"responses/{answer['id']}")).json())
    check(ResponseItemList, (await raw.get(f"responses/{answer['id']}/input_items")).json())


async def test_an_agents_response(raw: httpx.AsyncClient) -> None:
    body = {
        "agent_reference": {"type": "agent_reference", "name": "assistant"},
        "input": [message("hi")],
    }
    answer = (await raw.post("responses", json=body)).json()
    check(Response, answer)
    reference = {"type": "agent_reference", "name": "assistant", "version": "1"}
    assert answer["agent_reference"] == reference
    listed = (await raw.get("responses", params={"agent_id": "assistant:1"})).json()
    assert answer["id"] in [response["id"] for response in listed["data"]]


async def test_the_order_of_events_of_a_text(raw: httpx.AsyncClient) -> None:
    events = await events_of(raw, turn("/words 2"))
    assert [event["type"] for event in events] == TEXT_ORDER
    assert [event["sequence_number"] for event in events] == list(range(len(TEXT_ORDER)))
    for event in events:
        check(ResponseStreamEvent, event)
    assert [event["response"]["status"] for event in events if "response" in event] == [
        "in_progress",
        "in_progress",
        "completed",
    ]
    assert events[1]["response"]["usage"] is None
    assert events[-1]["response"]["usage"]["output_tokens"] == 2
    assert events[2]["item"]["content"] == []
    assert events[-2]["item"] == events[-1]["response"]["output"][0]


async def test_the_order_of_events_of_parallel_calls(raw: httpx.AsyncClient) -> None:
    text = '/call weather {"c": 1}\n/call weather {"c": 2}'
    events = await events_of(raw, turn(text, tools=[TOOL]))
    order = [event["type"] for event in events]
    assert order == [*TEXT_ORDER[:2], *CALL_ORDER, *CALL_ORDER, "response.completed"]
    for event in events:
        check(ResponseStreamEvent, event)
    assert [e["output_index"] for e in events if "output_index" in e] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("text", "terminal"),
    [("/refuse", "completed"), ("/filter", "incomplete"), ("/fail", "failed")],
)
async def test_other_endings(raw: httpx.AsyncClient, text: str, terminal: str) -> None:
    events = await events_of(raw, turn(text))
    for event in events:
        check(ResponseStreamEvent, event)
    assert events[-1]["type"] == f"response.{terminal}"
    assert events[-1]["response"]["status"] == terminal
    if terminal == "failed":
        assert events[-1]["response"]["error"]["code"] == "server_error"


async def test_chat_completions(resource: httpx.AsyncClient) -> None:
    body = {"model": DEPLOYMENT, "messages": [{"role": "user", "content": "hello"}]}
    check(ChatCompletion, (await resource.post("chat/completions", json=body)).json())
    async with resource.stream(
        "POST", "chat/completions", json={**body, "stream": True}
    ) as response:
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        check(ChatCompletionChunk, json.loads(line.removeprefix("data: ")))
