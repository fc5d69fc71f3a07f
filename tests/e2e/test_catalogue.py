"""What can be asked, and by whom, through the running app on real storage."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest

from local.services import Azurite, FoundryEmulator, FunctionsHost
from tests.support.callers import ACCESS, TENANT, known
from tests.support.served import Deployment, EmulatorControl
from tests.support.waiting import eventually

SETTINGS = {
    **ACCESS,
    "AUTH_MODE": "entra",
    "BUDGETS": json.dumps([{"owner": "*", "requests": 3, "per": "month"}]),
    "PRICES": json.dumps({"currency": "EUR", "models": {"gpt-4.1": {"input": 2, "output": 8}}}),
    "FOUNDRY_ALLOWED_MODELS": "gpt-4.1",
    "FOUNDRY_VECTOR_STORE_IDS": "vs_1",
    "OPENAI_API_KEY": "sk-secret-of-the-catalogue",
    "OPENAI_BASE_URL": "https://internal.example/v1",
}


@pytest.fixture(scope="module")
def host(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    own = Deployment(azurite.connection_string, foundry)
    with own.serve(tmp_path_factory.mktemp("catalogue"), **SETTINGS) as host:
        yield host


def user(host: FunctionsHost) -> httpx.AsyncClient:
    """A new caller."""
    headers = known(TENANT, str(uuid.uuid4()))
    return httpx.AsyncClient(base_url=f"{host.url}/api/", headers=headers, timeout=30)


async def test_models_and_tools_are_listed_without_asking_foundry(
    host: FunctionsHost, emulator: EmulatorControl
) -> None:
    before = len(await emulator.requests())
    async with user(host) as caller:
        models, tools = await caller.get("models"), await caller.get("tools")
        assert len(await emulator.requests()) == before
        head = await caller.head("models")
    assert (head.status_code, head.content) == (200, b"")
    listed = {each["model_type"]: each for each in models.json()["data"]}
    foundry, vllm, openai = (listed[kind] for kind in ("foundry_agent_service", "vllm", "openai"))
    assert foundry["is_available"]
    assert [(each["name"], each["can_be_named"]) for each in foundry["models"]] == [
        ("llama-3.3-70b", False),
        ("gpt-4.1", True),
    ]
    assert foundry["models"][1]["price"] == {"input": 2.0, "output": 8.0, "cached": 2.0}
    assert (vllm["is_available"], vllm["settings"]) == (False, ["VLLM_SERVER_URL"])
    assert "set VLLM_SERVER_URL" in vllm["unavailable"]
    assert openai["is_available"]
    assert models.json()["order"] == {"*": ["foundry_agent_service", "openai"]}
    for secret in ("sk-secret", "internal.example", host.url.removeprefix("http://")):
        assert secret not in models.text
    offered = {each["name"]: each for each in tools.json()["data"]}
    assert offered["knowledge_retrieval"]["is_available"]
    assert offered["azure_ai_search"]["missing"] == [
        ["FOUNDRY_SEARCH_CONNECTION_ID", "FOUNDRY_SEARCH_INDEX"]
    ]


async def test_a_listed_model_and_an_unlisted_one_are_taken_as_listed(host: FunctionsHost) -> None:
    async with user(host) as caller:
        body = {"message": "Hi", "model": "llama-3.3-70b"}
        assert (await caller.post("messages", json=body)).status_code == 422
        body = {"message": "Hi", "model_type": "vllm"}
        refused = (await caller.post("messages", json=body)).json()
        listed = (await caller.get("models")).json()["data"]
    assert refused["detail"] in {each["unavailable"] for each in listed}


async def test_a_nearly_used_budget_shows_what_is_left_to_its_owner_only(
    host: FunctionsHost,
) -> None:
    async with user(host) as spender, user(host) as other:
        for left in (2, 1, 0):
            answer = await spender.post("messages", json={"message": "Hi"})
            assert answer.status_code == 200, answer.text
            (budget,) = (await spender.get("me")).json()["budgets"]
            assert (budget["used"], budget["left"]) == (3 - left, left)
        refused = await spender.post("messages", json={"message": "Hi"})
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_exhausted")
        assert refused.json()["budget"]["resets_at"] == budget["resets_at"]
        me, theirs = [(await each.get("me")).json() for each in (spender, other)]
        assert (me["how"], me["roles"]) == ("entra", ["Agents.Use"])
        assert [each["left"] for each in theirs["budgets"]] == [3]
        assert me["owner"] not in str(theirs)


async def test_reading_ones_budgets_is_audited(host: FunctionsHost) -> None:
    async with user(host) as caller:
        await caller.get("me")

        async def recorded() -> bool:
            page = await caller.get("audit", params={"action": "usage_read"})
            return len(page.json()["data"]) == 1

        await eventually(recorded)
