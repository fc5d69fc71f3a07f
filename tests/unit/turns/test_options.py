"""What callers may ask for, what that counts in budgets, and when a schema is compiled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from shared.config import AppSettings, ModelSettings, SpendingSettings
from shared.foundry import judging
from shared.turns.options import ANY_MODEL, OptionLimits
from tests.support.app_on_fakes import App, at_resource
from tests.support.calling import assert_problem, caller


def limits(models: ModelSettings | None = None, **foundry: Any) -> OptionLimits:
    return OptionLimits.of(
        AppSettings(foundry=at_resource(**foundry), models=models or ModelSettings())
    )


def test_the_configured_models_may_be_named_and_others_if_settings_say_so() -> None:
    models = ModelSettings(
        vllm_server_url="http://vllm:8000",
        vllm_model="llama",
        azure_openai_endpoint="https://acme.openai.azure.com",
        azure_openai_deployment="gpt-4.1",
        openai_model="not configured",
    )
    assert limits(models, model="m").models == {"m", "llama", "gpt-4.1"}
    assert limits(models, model="m", allowed_models="a, b").models == {"a", "b"}
    assert limits(allowed_models="*").models == {ANY_MODEL}


def test_the_limit_of_tokens_is_the_default_unless_another_is_set() -> None:
    assert limits(max_tokens=100).max_tokens == 100
    assert limits(max_tokens=100, max_tokens_limit=500).max_tokens == 500


BUDGET = '[{"owner": "*", "tokens": 3000, "per": "day"}]'
LONG = "x" * 12_000


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App(
        settings=AppSettings(
            foundry=at_resource(max_retries=0, max_tokens=100),
            spending=SpendingSettings(budgets=BUDGET),
        )
    )
    yield app
    await app.aclose()


@pytest.fixture
async def api(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(app.services()) as client:
        yield client


@pytest.mark.parametrize(
    "option",
    [
        {"message": LONG},
        {"system_prompt": LONG},
        {"response_format": {"type": "object", "description": LONG}},
        {"images": ["https://x.example/i.png"] * 3},
    ],
)
async def test_all_that_is_sent_counts(
    app: App, api: httpx.AsyncClient, option: dict[str, Any]
) -> None:
    assert (await api.post("messages", json={"message": "Hi"})).status_code == 200
    sent = len(app.foundry.sent)
    answer = await api.post("messages", json={"message": "Hi", **option})
    assert answer.status_code in {402, 403, 413, 422, 429}
    assert answer.json()["code"].startswith("budget")
    assert len(app.foundry.sent) == sent


@pytest.mark.parametrize(
    "body", [{"max_tokens": 101}, {"model": "another"}, {"max_tokens": 10**400}]
)
async def test_more_than_settings_allow_is_refused_by_name(
    api: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    for path in ("messages", "jobs"):
        problem = assert_problem(
            await api.post(path, json={"message": "Hi", **body}), 422, "invalid_request"
        )
        assert [error["field"] for error in problem["errors"]] == list(body)


async def test_a_schema_is_compiled_only_for_who_may_have_it(api: httpx.AsyncClient) -> None:
    judging._compiled.cache_clear()
    schema = {"type": "object", "properties": {"a": {"type": "no such type"}}}
    body = {"message": "Hi", "response_format": schema}
    unknown = "threads/thread_01HZZZZZZZZZZZZZZZZZZZZZZZ/messages"
    assert_problem(await api.post(unknown, json=body), 404, "not_found")
    too_much = await api.post("messages", json={**body, "message": LONG})
    assert too_much.json()["code"].startswith("budget")
    assert judging._compiled.cache_info().misses == 0
    for path in ("messages", "jobs"):
        problem = assert_problem(await api.post(path, json=body), 422, "invalid_response_format")
        assert problem["errors"][0]["field"] == "response_format"
    assert judging._compiled.cache_info().misses > 0
