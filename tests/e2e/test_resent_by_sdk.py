"""An OpenAI client whose connection is cut, with its default retries: one turn, one charge."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from local.services import FoundryEmulator, FunctionsHost
from tests.support.client_keys import bearer
from tests.support.relay import relay_to
from tests.support.served import Deployment, EmulatorControl

MODEL = "llama-3.3-70b"
RUNS = 10


async def ask(url: str, text: str, *, stream: bool, key: str = "unused") -> str:
    """What the official client gets, whose first connection is cut."""
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    async with (
        relay_to(url, cuts=1) as (_, relayed),
        openai.AsyncOpenAI(base_url=relayed + urlsplit(url).path, api_key=key) as client,
    ):
        if not stream:
            answer = await client.chat.completions.create(**asked)
            return answer.choices[0].message.content or ""
        chunks = await client.chat.completions.create(**asked, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def times_asked(emulator: EmulatorControl, operation: str, text: str) -> int:
    return sum(text in str(entry["body"]) for entry in await emulator.requests(operation))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_cut_connection_pays_once(
    app: FunctionsHost,
    deployment: Deployment,
    caller: httpx.AsyncClient,
    emulator: EmulatorControl,
    stream: bool,
) -> None:
    body = {"label": "cut", "budgets": [{"requests": 1_000, "per": "month"}]}
    key = (await caller.post("keys", json=body)).json()["key"]
    texts = [f"/answer cut-{stream}-{number}." for number in range(RUNS)]
    url = f"{app.url}/api/v1"
    answers = await asyncio.gather(*(ask(url, text, stream=stream, key=key) for text in texts))
    assert answers == [text.removeprefix("/answer ") for text in texts]
    rows = await deployment.rows(f"key:{key.split('_')[1]}", kind="turn:-:")
    assert sorted(row["question"] for row in rows) == sorted(texts)
    for text in texts:
        assert await times_asked(emulator, "responses.create", text) == 1
    async with httpx.AsyncClient(base_url=f"{app.url}/api/", headers=bearer(key)) as payer:
        usage = (await payer.get("usage")).json()["total"]
        (budget,) = (await payer.get("me")).json()["budgets"]
    assert usage["requests"] == RUNS
    assert usage["total_tokens"] == sum(row["total_tokens"].value for row in rows)
    assert budget["left"] == 1_000 - RUNS


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_the_same_without_the_app_pays_twice(
    foundry: FoundryEmulator, emulator: EmulatorControl, stream: bool
) -> None:
    url, text = f"{foundry.url}/openai/v1", f"/answer bare-{stream}"
    answer = await ask(url, text, stream=stream, key="local-key")
    assert answer == text.removeprefix("/answer ")
    asked = [entry for entry in await emulator.requests() if text in str(entry["body"])]
    assert len(asked) == 2
