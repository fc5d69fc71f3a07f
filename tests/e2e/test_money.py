"""Budgets, prices and usage through the running app, on real storage."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from local.services import ROOT, Azurite, FoundryEmulator, FunctionsHost
from tests.support.asking import ended, submit
from tests.support.served import Deployment, EmulatorControl

OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
BUDGETS = re.findall(r"```json\n(\[.*?\])\n```", OPERATE, re.DOTALL)[0]
PRICES = re.findall(r'```json\n(\{"currency.*?\})\n```', OPERATE, re.DOTALL)[0]


@pytest.fixture(scope="module")
def limited(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    """The app with the budgets and prices that the documentation shows."""
    own = Deployment(azurite.connection_string, foundry)
    settings = {"BUDGETS": BUDGETS, "PRICES": PRICES}
    with own.serve(tmp_path_factory.mktemp("limited"), **settings) as host:
        yield host


@pytest.fixture
async def spender(limited: FunctionsHost) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{limited.url}/api/", timeout=30) as client:
        yield client


async def test_the_documented_budgets_let_messages_threads_and_jobs_pass(
    spender: httpx.AsyncClient,
) -> None:
    for _ in range(2):  # the second turn finds the rows that the first one wrote
        answer = await spender.post("messages", json={"message": "Hello"})
        assert answer.status_code == 200, answer.text
    thread = (await spender.post("threads", json={})).json()["thread_id"]
    answer = await spender.post(f"threads/{thread}/messages", json={"message": "Hello"})
    assert answer.status_code == 200, answer.text
    job = await ended(spender, await submit(spender, messages=["One", "Two"]))
    assert job["status"] == "succeeded", job
    body = {"user_input": "Hello", "conversation_id": "money"}
    answer = await spender.post("orchestrate", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -5, "output_tokens": 7, "total_tokens": -2},
        {"input_tokens": True, "output_tokens": 1.5, "total_tokens": 10**30},
        {"input_tokens": 2**63, "output_tokens": 10**12, "total_tokens": -(2**70)},
        {"input_tokens": "9", "output_tokens": None, "total_tokens": [1]},
    ],
)
async def test_usage_that_cannot_be_true_is_stored_nowhere(
    spender: httpx.AsyncClient, emulator: EmulatorControl, usage: dict[str, Any]
) -> None:
    async def counted() -> dict[str, Any]:
        return (await spender.get("usage")).json()["total"]

    await spender.post("messages", json={"message": "Hello"})  # so that there are sums
    before = await counted()
    await emulator.inject("wrong_usage", body=usage)
    answer = (await spender.post("messages", json={"message": "Hello"})).json()
    true = {name: 7 for name in ("output_tokens",) if usage[name] == 7}
    assert answer["usage"] == true
    after = await counted()
    assert after["requests_of_unknown_usage"] == before["requests_of_unknown_usage"] + 1
    assert after["requests_of_unknown_cost"] == before["requests_of_unknown_cost"] + 1
    assert (after["cost"], after["input_tokens"]) == (before["cost"], before["input_tokens"])
