"""An OpenAI-compatible server as the backend: here, the resource endpoint of another emulator."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from .conftest import API_KEY, TOKEN, Emulator, running_emulator, text_of, turn

TOOL: dict[str, Any] = {"type": "function", "name": "weather", "parameters": {}, "strict": False}


@pytest.fixture
async def behind(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an emulator whose answers come from the shared one over HTTP."""
    environment = {
        "FOUNDRY_LOCAL_BACKEND": f"{emulator.origin}/openai/v1",
        "FOUNDRY_LOCAL_BACKEND_API_KEY": API_KEY,
        "FOUNDRY_LOCAL_BACKEND_MODEL": "gpt-4o-mini",
    }
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        running_emulator(environment=environment) as front,
        httpx.AsyncClient(base_url=front.openai + "/", headers=headers, timeout=20) as client,
    ):
        yield client


async def answer(client: httpx.AsyncClient, said: str, **fields: Any) -> dict[str, Any]:
    return (await client.post("responses", json=turn(said, **fields))).raise_for_status().json()


async def test_it_answers_with_what_the_server_said(
    behind: httpx.AsyncClient, emulator: Emulator
) -> None:
    plain = await answer(behind, "hello there", temperature=0.5, max_output_tokens=16)
    assert text_of(plain) == "You said: hello there"
    assert plain["usage"]["output_tokens"] == 4
    called = await answer(behind, "/call weather {}\n/call weather {}", tools=[TOOL])
    assert [item["name"] for item in called["output"]] == ["weather", "weather"]
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "sun"}
        for item in called["output"]
    ]
    body = {**turn("x"), "input": outputs, "previous_response_id": called["id"]}
    told = (await behind.post("responses", json=body)).json()
    assert text_of(told) == "weather answered: sun\nweather answered: sun"
    assert (await answer(behind, "/refuse"))["output"][0]["content"][0]["type"] == "refusal"
    cut = await answer(behind, "/words 30", max_output_tokens=16)
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    item = {"type": "message", "role": "user", "content": [picture]}
    seen = await behind.post("responses", json={"model": "gpt-4o-mini", "input": [item]})
    assert text_of(seen.json()) == "You said: [image]"
    log = (await behind.get(f"{emulator.origin}/_emulator/requests")).json()["requests"]
    first = log[0]["body"]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("gpt-4o-mini", 0.5, 16)


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 500}, {"kind": "drop"}, {"kind": "html", "status": 502}]
)
async def test_a_failing_server_is_a_failed_response(
    behind: httpx.AsyncClient, inject: Any, fault: dict[str, Any]
) -> None:
    await inject(operation="chat.completions.create", **fault)
    failed = await answer(behind, "hello")
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert (await answer(behind, "hello"))["status"] == "completed"


BREAKS = "a\u2028b\u2029c\x85d\x0ce"
"""Characters that Python splits lines at, which servers write as they are."""


async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with a stream whose JSON escapes only what it must."""
    await reader.readuntil(b"\r\n\r\n")
    delta = {"choices": [{"delta": {"content": BREAKS}}]}
    event = f"data: {json.dumps(delta, ensure_ascii=False)}\r\n\r\n".encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    writer.write(head + event[:60])
    await writer.drain()
    writer.write(event[60:] + b"data: [DONE]\n\n")
    writer.close()
    await writer.wait_closed()


async def test_a_server_may_write_any_character_as_it_is() -> None:
    async with await asyncio.start_server(streams, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        environment = {
            "FOUNDRY_LOCAL_BACKEND": f"http://127.0.0.1:{port}/v1",
            "FOUNDRY_LOCAL_BACKEND_MODEL": "any",
        }
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            running_emulator(environment=environment) as front,
            httpx.AsyncClient(base_url=front.openai + "/", headers=headers, timeout=20) as client,
        ):
            assert text_of(await answer(client, "hello")) == BREAKS
