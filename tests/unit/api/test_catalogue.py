"""`/models`, `/tools` and `/me` on fakes: their documents, and what they cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from shared.app import Services
from shared.config import AccessSettings, AppSettings, SpendingSettings
from shared.http.operation import Tag
from shared.routes import BASE, ROUTES
from tests.support.app_on_fakes import App, at_resource
from tests.support.callers import ACCESS, ADMIN, OTHER, OWNER, OWNER_KEY, TENANT, known
from tests.support.calling import assert_problem, caller

USER = known(TENANT, OWNER)
CATALOGUE = {
    route.template.removeprefix(BASE): route
    for route in ROUTES
    if route.operation.tag is Tag.CATALOGUE
}
BUDGETS = """[{"owner": "*", "requests": 4, "per": "month"}, {"owner": "*", "concurrent": 2},
              {"owner": "*", "money": 1.5, "per": "day"},
              {"department": "law", "tokens": 900000, "per": "day"}]"""
PRICES = '{"currency": "USD", "models": {"llama-3.3-70b": {"input": 0.5, "output": 1}}}'


@pytest.fixture
async def app() -> AsyncIterator[App]:
    access = AccessSettings.from_env(
        {**ACCESS, "AUTH_MODE": "entra", "DEPARTMENTS": f'{{"{OWNER_KEY}": "Law"}}'}
    )
    spending = SpendingSettings(budgets=BUDGETS, prices=PRICES)
    foundry = at_resource(max_retries=0, search_index="manuals")
    app = App(settings=AppSettings(foundry=foundry, access=access, spending=spending))
    yield app
    await app.aclose()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(services) as client:
        client.headers.update(USER)
        yield client


async def read(api: httpx.AsyncClient, template: str, **query: str) -> dict[str, Any]:
    """The answer, which is as its route declares."""
    answer = await api.get(template, params=query)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    declared = CATALOGUE[template].operation.results[200].document
    assert TypeAdapter(declared).validate_python(document).keys() == document.keys()
    return document


async def test_models_and_tools_read_no_storage_and_call_no_model(
    app: App, api: httpx.AsyncClient
) -> None:
    for template in ("models", "tools"):
        await read(api, template)
    assert app.table.transactions + app.metrics_table.transactions == 0
    assert app.audit_table.transactions == 0
    assert app.foundry.calls == []


async def test_a_model_has_its_price_and_what_it_takes(api: httpx.AsyncClient) -> None:
    listed = await read(api, "models")
    assert (listed["default"], listed["currency"]) == ("foundry_agent_service", "USD")
    assert listed["order"] == {"*": ["foundry_agent_service"]}
    assert (listed["takes_any_model"], listed["max_tokens"]["default"]) == (False, 4096)
    foundry, vllm, *_ = listed["data"]
    assert (foundry["is_available"], foundry["breaker"]["circuit"]) == (True, "closed")
    assert foundry["models"] == [
        {
            "name": "llama-3.3-70b",
            "is_default": True,
            "can_be_named": True,
            "price": {"input": 0.5, "output": 1.0, "cached": 0.5},
        }
    ]
    assert all(foundry["takes"].values())
    assert (vllm["is_available"], vllm["settings"]) == (False, ["VLLM_SERVER_URL"])
    assert (vllm["takes"], vllm["breaker"], vllm["models"]) == (None, None, [])


async def test_a_tool_names_the_missing_setting(api: httpx.AsyncClient) -> None:
    listed = await read(api, "tools")
    assert listed["agent_id"] is None
    tools = {tool["name"]: tool for tool in listed["data"]}
    assert (tools["web_search"]["is_available"], tools["web_search"]["needs"]) == (True, [])
    search = tools["azure_ai_search"]
    assert search["needs"] == [["FOUNDRY_SEARCH_CONNECTION_ID", "FOUNDRY_SEARCH_INDEX"]]
    assert search["missing"] == [["FOUNDRY_SEARCH_CONNECTION_ID"]]
    assert (search["is_available"], search["unavailable"]) == (
        False,
        "The tool 'azure_ai_search' is not configured: set FOUNDRY_SEARCH_CONNECTION_ID.",
    )


@pytest.mark.parametrize(
    ("settings", "available", "missing"),
    [
        ({"enable_foundry_tools": False}, False, [["FOUNDRY_ENABLE_FOUNDRY_TOOLS"]]),
        ({"agent_id": "helper", "endpoint_url": "", "api_key": ""}, None, []),
    ],
)
async def test_an_agent_or_the_switch_decides_about_all_tools(
    settings: dict[str, Any], available: bool | None, missing: list[list[str]]
) -> None:
    app = App(settings=AppSettings(foundry=at_resource(**settings)))
    async with caller(app.services()) as client:
        tools = {tool["name"]: tool for tool in (await client.get("tools")).json()["data"]}
    tool = tools["code_interpreter"]
    assert (tool["is_available"], tool["missing"]) == (available, missing)
    await app.aclose()


async def test_the_caller_sees_what_is_left(app: App, api: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await api.post("messages", json={"message": "Hi"})).status_code == 200
    before = app.metrics_table.reads
    me = await read(api, "me")
    assert app.metrics_table.reads - before == len(me["budgets"]) == 4
    assert (me["owner"], me["subject"], me["how"]) == (OWNER_KEY, OWNER, "entra")
    assert (me["roles"], me["departments"], me["tenant"]) == (["Agents.Use"], ["law"], TENANT)
    budgets = {(each["subject"], each["of"]): each for each in me["budgets"]}
    requests = budgets[f"owner:{OWNER_KEY}", "requests"]
    assert (requests["limit"], requests["used"], requests["left"]) == (4, 3, 1)
    assert requests["resets_at"] == "2026-04-01T00:00:00+00:00"
    money = budgets[f"owner:{OWNER_KEY}", "money"]
    assert (money["limit"], money["per"]) == (1.5, "day")
    assert 0 < money["used"] < 0.01
    assert budgets["department:law", "tokens"]["used"] > 0
    concurrent = budgets[f"owner:{OWNER_KEY}", "concurrent"]
    assert (concurrent["left"], concurrent["resets_at"], concurrent["per"]) == (2, None, None)
    assert me["limits"]["requests"] == {"limit": 2500, "used": 1, "left": 2499}
    assert me["limits"]["new_threads"]["left"] == 1000


async def test_another_callers_use_is_not_shown_except_to_admins(api: httpx.AsyncClient) -> None:
    await api.post("messages", json={"message": "Hi"})
    other = (await api.get("me", headers=known(TENANT, OTHER))).json()
    assert other["owner"] == f"{TENANT}:{OTHER}"
    assert (other["departments"], [each["used"] for each in other["budgets"]]) == ([], [0, 0, 0])
    assert OWNER not in str(other)
    refused = await api.get("me", params={"owner": f"{TENANT}:{OTHER}"})
    assert_problem(refused, 403, "forbidden")
    headers = known(TENANT, ADMIN, "Agents.Admin")
    theirs = (await api.get("me", params={"owner": OWNER_KEY}, headers=headers)).json()
    assert (theirs["owner"], theirs["subject"]) == (OWNER_KEY, ADMIN)
    assert (theirs["departments"], theirs["budgets"][0]["used"]) == (["law"], 1)


@pytest.mark.parametrize("template", CATALOGUE)
async def test_an_unknown_parameter_is_refused(api: httpx.AsyncClient, template: str) -> None:
    assert_problem(await api.get(template, params={"all": "1"}), 422, "invalid_request")


async def test_budgets_that_cannot_be_read_are_a_problem(app: App, api: httpx.AsyncClient) -> None:
    app.metrics_table.available = False
    assert_problem(await api.get("me"), 503, "storage_unavailable")
