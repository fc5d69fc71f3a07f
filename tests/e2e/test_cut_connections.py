"""An official client whose connection is cut after the model worked: its own retry pays nothing."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from local.services import FoundryEmulator, FunctionsHost
from tests.support.served import EmulatorControl

MODEL = "llama-3.3-70b"
RUNS = 20


class Cutting(httpx.AsyncHTTPTransport):
    """Loses the answer to the first attempt of each request, after it has arrived in full."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if request.headers["x-stainless-retry-count"] == "0":
            await answer.aread()
            await answer.aclose()
            raise httpx.ReadError("cut", request=request)
        return answer


def cut_client(base_url: str, key: str) -> openai.AsyncOpenAI:
    http: Any = httpx.AsyncClient(transport=Cutting())
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, http_client=http)


@pytest.fixture
async def client(app: FunctionsHost) -> AsyncIterator[openai.AsyncOpenAI]:
    async with cut_client(f"{app.url}/api/v1", "unused") as client:
        yield client


async def said(client: openai.AsyncOpenAI, text: str, stream: bool) -> str:
    messages: Any = [{"role": "user", "content": text}]
    if not stream:
        answer = await client.chat.completions.create(model=MODEL, messages=messages)
        return answer.choices[0].message.content or ""
    chunks = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def asked(emulator: EmulatorControl, text: str) -> int:
    """How often the model was asked something."""
    requests = await emulator.requests("responses.create")
    return sum(text in str(request) for request in requests)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_connection_is_one_turn(
    client: openai.AsyncOpenAI, emulator: EmulatorControl, stream: bool
) -> None:
    for _ in range(RUNS // 2):
        text = f"Say {uuid.uuid4().hex}"
        assert await said(client, text, stream)
        assert await asked(emulator, text) == 1


async def test_the_model_itself_is_paid_twice(
    foundry: FoundryEmulator, emulator: EmulatorControl
) -> None:
    async with cut_client(f"{foundry.project_endpoint}/openai/v1", "local-token") as client:
        text = f"Say {uuid.uuid4().hex}"
        items: Any = [{"type": "message", "role": "user", "content": text}]
        await client.responses.create(model=MODEL, input=items)
        assert await asked(emulator, text) == 2
