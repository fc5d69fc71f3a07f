"""An OpenAI client whose connection is cut, with its default retries: one turn, one charge."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from local.services import FoundryEmulator, FunctionsHost
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
    app: FunctionsHost, deployment: Deployment, emulator: EmulatorControl, stream: bool
) -> None:
    texts = [f"/answer cut-{stream}-{number}." for number in range(RUNS)]
    url = f"{app.url}/api/v1"
    answers = await asyncio.gather(*(ask(url, text, stream=stream) for text in texts))
    assert answers == [text.removeprefix("/answer ") for text in texts]
    rows = [str(row.get("question")) for row in await deployment.rows(kind="turn:-:")]
    for text in texts:
        assert await times_asked(emulator, "responses.create", text) == 1
        assert rows.count(text) == 1


async def test_the_same_without_the_app_pays_twice(
    foundry: FoundryEmulator, emulator: EmulatorControl
) -> None:
    answer = await ask(f"{foundry.url}/openai/v1", "/answer bare", stream=False, key="local-key")
    assert answer == "bare"
    asked = [
        entry["operation"]
        for entry in await emulator.requests()
        if "/answer bare" in str(entry["body"])
    ]
    assert len(asked) == 2
