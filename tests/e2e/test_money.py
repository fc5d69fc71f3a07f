"""Budgets, prices and usage through the running app, on real storage."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from local.services import ROOT, Azurite, FoundryEmulator, FunctionsHost

from .asking import ended, submit
from .served import Deployment

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
