"""Creating, listing and revoking client keys, and what their callers may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.config import AccessSettings, AppSettings, ModelSettings, SpendingSettings
from shared.http.client_keys import CACHE_SECONDS
from shared.http.principal import Role
from shared.jobs.queue import WakeUp
from tests.support.app_on_fakes import App, at_resource
from tests.support.callers import ACCESS, ADMIN, OWNER, OWNER_KEY, TENANT, known
from tests.support.calling import assert_problem, caller
from tests.support.client_keys import bearer, issue

HI = {"message": "Hi"}


@dataclass
class Stage:
    app: App
    services: Services
    api: httpx.AsyncClient
    admin: dict[str, str]

    async def create(self, **body: Any) -> dict[str, Any]:
        answer = await self.api.post("keys", json={"label": "test", **body}, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return answer.json()


def settings(mode: str = "keys", **groups: Any) -> AppSettings:
    access = AccessSettings.from_env({**ACCESS, "AUTH_MODE": mode})
    return AppSettings(foundry=at_resource(), access=access, **groups)


async def staged(app: App) -> AsyncIterator[Stage]:
    services = app.services()
    async with caller(services) as api:
        yield Stage(app, services, api, bearer(await issue(services, Role.ADMIN)))
    await app.aclose()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    prices = '{"models": {"*": {"input": 1, "output": 1}}}'
    app = App(settings=settings(spending=SpendingSettings(prices=prices)))
    async for stage in staged(app):
        yield stage


async def test_a_key_is_shown_once_and_works(stage: Stage) -> None:
    made = await stage.create(department="Finance ", roles=["Agents.Use"])
    key_id = made["key_id"]
    assert made["key"].startswith(f"aos_{key_id}_")
    assert made["owner"] == f"key:{key_id}"
    assert made["department"] == "finance"
    shown = (await stage.api.get(f"keys/{key_id}", headers=stage.admin)).json()
    assert shown == {name: value for name, value in made.items() if name != "key"}
    answer = await stage.api.post("messages", json=HI, headers=bearer(made["key"]))
    assert answer.status_code == 200
    (turn,) = stage.app.table.rows(f"key:{key_id}", "turn:")
    assert turn.values["department"] == "finance"


async def test_a_key_may_have_another_owner(stage: Stage) -> None:
    made = await stage.create(owner=OWNER_KEY.upper())
    assert made["owner"] == OWNER_KEY
    await stage.api.post("threads", json={}, headers=bearer(made["key"]))
    assert len(stage.app.table.rows(OWNER_KEY, "thread:")) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "label"),
        ({"label": "a\nb"}, "label"),
        ({"label": "x", "owner": "somebody"}, "owner"),
        ({"label": "x", "owner": "$sealed-keys"}, "owner"),
        ({"label": "x", "roles": []}, "roles"),
        ({"label": "x", "roles": ["Agents.Root"]}, "roles.0"),
        ({"label": "x", "models": []}, "models"),
        ({"label": "x", "expires_at": "2026-03-01T11:59:59Z"}, "expires_at"),
        ({"label": "x", "expires_at": "2026-04-01T00:00:00"}, "expires_at"),
        ({"label": "x", "budgets": [{"tokens": 5}]}, "budgets.0"),
        ({"label": "x", "budgets": [{"tokens": 0, "per": "day"}]}, "budgets.0.tokens"),
        ({"label": "x", "budgets": [{"owner": "a", "tokens": 5, "per": "day"}]}, "budgets.0.owner"),
        ({"label": "x", "secret": "mine"}, "secret"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    stage: Stage, body: dict[str, Any], field: str
) -> None:
    answer = await stage.api.post("keys", json=body, headers=stage.admin)
    document = assert_problem(answer, 422, "invalid_request")
    assert [each["field"] for each in document["errors"]] == [field]


async def test_keys_are_listed_page_by_page_without_their_secrets(stage: Stage) -> None:
    made = [await stage.create() for _ in range(3)]
    ids, query = [], {"limit": "2"}
    while True:
        answer = await stage.api.get("keys", params=query, headers=stage.admin)
        assert not [key for key in made if key["key"].rpartition("_")[2] in answer.text]
        assert "digest" not in answer.text
        ids += [key["key_id"] for key in answer.json()["data"]]
        if (cursor := answer.json()["next_cursor"]) is None:
            break
        query["cursor"] = cursor
    assert {key["key_id"] for key in made} < set(ids)
    assert ids == sorted(ids)
    mine = {"owner": made[0]["owner"]}
    found = (await stage.api.get("keys", params=mine, headers=stage.admin)).json()["data"]
    assert [key["key_id"] for key in found] == [made[0]["key_id"]]


async def test_a_replay_does_not_show_the_key(stage: Stage) -> None:
    headers = {**stage.admin, "Idempotency-Key": "once"}
    first = await stage.api.post("keys", json={"label": "x"}, headers=headers)
    again = await stage.api.post("keys", json={"label": "x"}, headers=headers)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "key": None}
    assert again.headers["location"] == first.headers["location"]
    tables = (stage.app.table, stage.app.audit_table, stage.app.metrics_table)
    secret = first.json()["key"].rpartition("_")[2]
    assert not [table for table in tables if secret in repr(table.partitions)]


async def test_an_interrupted_request_leaves_one_key(stage: Stage) -> None:
    headers = {**stage.admin, "Idempotency-Key": "once"}
    hold = stage.app.settings.storage.lease_seconds
    stage.app.table.before_next_write(_nothing)  # the claim
    stage.app.table.before_next_write(_nothing)  # the key
    stage.app.table.fail_next_write()  # the answer
    interrupted = await stage.api.post("keys", json={"label": "x"}, headers=headers)
    stage.app.clock.advance(hold + 1)
    answer = await stage.api.post("keys", json={"label": "x"}, headers=headers)
    assert (interrupted.status_code, answer.status_code) == (503, 201)
    keys = (await stage.api.get("keys", headers=stage.admin)).json()["data"]
    assert [key["label"] for key in keys].count("x") == 1


async def _nothing() -> None:
    pass


async def test_a_revoked_key_is_refused_and_its_row_stays_for_a_while(stage: Stage) -> None:
    made = await stage.create()
    path = f"keys/{made['key_id']}"
    assert (await stage.api.get("jobs", headers=bearer(made["key"]))).status_code == 200
    revoked = (await stage.api.delete(path, headers=stage.admin)).json()
    assert revoked["revoked_at"] is not None
    answer = await stage.api.get("jobs", headers=bearer(made["key"]))
    assert "revoked" in assert_problem(answer, 401, "unauthorized")["detail"]
    assert (await stage.api.delete(path, headers=stage.admin)).json() == revoked
    stage.app.clock.advance(364 * 86_400)
    await stage.services.timers.delete_old_records()
    assert (await stage.api.get(path, headers=stage.admin)).json() == revoked
    stage.app.clock.advance(2 * 86_400)
    await stage.services.timers.delete_old_records()
    assert (await stage.api.get(path, headers=stage.admin)).status_code == 404
    assert (await stage.api.get("jobs", headers=stage.admin)).status_code == 200


async def test_an_unknown_key_is_404(stage: Stage) -> None:
    for key_id in ("0123456789", "x", "a%2Fb", "%00"):
        for method in ("GET", "DELETE"):
            answer = await stage.api.request(method, f"keys/{key_id}", headers=stage.admin)
            assert_problem(answer, 404, "not_found")


async def test_only_admins_manage_keys(stage: Stage) -> None:
    user = bearer((await stage.create())["key"])
    for method, path in (
        ("POST", "keys"),
        ("GET", "keys"),
        ("GET", "keys/x"),
        ("DELETE", "keys/x"),
    ):
        answer = await stage.api.request(method, path, json={"label": "x"}, headers=user)
        assert_problem(answer, 403, "forbidden")


@pytest.mark.parametrize(
    ("mode", "headers", "status"),
    [
        ("function", {}, 201),
        ("both", {}, 403),
        ("both", known(TENANT, ADMIN, "Agents.Admin"), 201),
        ("both", known(TENANT, OWNER), 403),
        ("entra", known(TENANT, ADMIN, "Agents.Admin"), 201),
        ("keys", {}, 401),
        ("keys", known(TENANT, ADMIN, "Agents.Admin"), 401),
    ],
)
async def test_who_manages_keys_in_each_mode(
    mode: str, headers: dict[str, str], status: int
) -> None:
    async for stage in staged(App(settings=settings(mode))):
        answer = await stage.api.post("keys", json={"label": "x"}, headers=headers)
        assert answer.status_code == status


async def test_an_anonymous_caller_makes_no_keys() -> None:
    access = AccessSettings.from_env({"AUTH_MODE": "anonymous", "AUTH_ANONYMOUS_CONFIRMED": "true"})
    app = App(settings=AppSettings(foundry=at_resource(), access=access))
    async for stage in staged(app):
        answer = await stage.api.post("keys", json={"label": "x"})
        assert answer.status_code == 403


@pytest.mark.parametrize("mode", ["function", "both"])
async def test_a_key_identifies_its_caller_where_none_is_needed(mode: str) -> None:
    async for stage in staged(App(settings=settings(mode))):
        key = await issue(stage.services)
        await stage.api.post("threads", json={}, headers=bearer(key))
        await stage.api.post("threads", json={})
        key_id = key.split("_")[1]
        assert len(stage.app.table.rows(f"key:{key_id}", "thread:")) == 1
        assert len(stage.app.table.rows("key", "thread:")) == 1
        wrong = await stage.api.get("threads", headers=bearer(key[:-1]))
        assert_problem(wrong, 401, "unauthorized")


async def test_a_key_and_a_token_are_two_callers() -> None:
    async for stage in staged(App(settings=settings("both"))):
        headers = {**known(TENANT, OWNER), "x-api-key": await issue(stage.services)}
        assert_problem(await stage.api.get("threads", headers=headers), 401, "unauthorized")


async def test_entra_ignores_a_key() -> None:
    async for stage in staged(App(settings=settings("entra"))):
        answer = await stage.api.get("threads", headers=bearer(await issue(stage.services)))
        assert_problem(answer, 401, "unauthorized")


async def test_a_key_is_no_operator(stage: Stage) -> None:
    user = bearer((await stage.create())["key"])
    assert "models" not in (await stage.api.get("metrics", headers=user)).json()
    assert "models" in (await stage.api.get("metrics", headers=stage.admin)).json()
    assert (await stage.api.get("metrics/prometheus", headers=user)).status_code == 403


async def test_an_admin_key_names_the_owner_of_another_key(stage: Stage) -> None:
    made = await stage.create()
    thread = await stage.api.post("threads", json={}, headers=bearer(made["key"]))
    path = f"threads/{thread.json()['thread_id']}"
    assert (await stage.api.get(path, headers=stage.admin)).status_code == 404
    found = await stage.api.get(path, params={"owner": made["owner"]}, headers=stage.admin)
    assert found.status_code == 200


@pytest.mark.parametrize("path", ["keys", "threads", "jobs"])
async def test_a_key_in_place_of_an_id_is_not_recorded(stage: Stage, path: str) -> None:
    key = (await stage.create())["key"]
    answer = await stage.api.get(f"{path}/{key}", headers=stage.admin)
    assert_problem(answer, 404, "not_found")
    await stage.services.aclose()
    assert key not in answer.text + repr(stage.app.audit_table.partitions)


async def test_what_is_done_with_keys_is_on_record(stage: Stage) -> None:
    made = await stage.create()
    await stage.api.get(f"keys/{made['key_id']}", headers=stage.admin)
    await stage.api.post("messages", json=HI, headers=bearer(made["key"]))
    await stage.api.delete(f"keys/{made['key_id']}", headers=stage.admin)
    await stage.services.aclose()
    records = [
        row.values for rows in stage.app.audit_table.partitions.values() for row in rows.values()
    ]
    about = {row["action"]: row for row in records if row.get("key_id") == made["key_id"]}
    assert about.keys() == {"key_create", "key_read", "key_revoke"}
    (sent,) = (row.values for row in stage.app.table.rows(made["owner"], "audit:"))
    assert (sent["subject"], sent["actor"], sent["how"]) == (made["owner"], "test", "keys")


@pytest.fixture
async def limited() -> AsyncIterator[Stage]:
    models = ModelSettings.from_env(
        {
            "VLLM_SERVER_URL": "http://127.0.0.1:9/v1",
            "VLLM_MODEL": "large",
            "OPENAI_API_KEY": "x",
            "MODEL_PREFERENCES": "sales=openai; *=foundry_agent_service,openai",
        }
    )
    foundry = at_resource(model="default", allowed_models="*", max_retries=0)
    access = AccessSettings.from_env({"AUTH_MODE": "keys"})
    app = App(settings=AppSettings(foundry=foundry, access=access, models=models))
    async for stage in staged(app):
        yield stage


@pytest.mark.parametrize(
    ("allowed", "route", "body", "status"),
    [
        (["default"], "messages", {}, 200),
        (["small"], "messages", {"model": "small"}, 200),
        (["small"], "messages", {}, 403),
        (["small"], "messages", {"model": "default"}, 403),
        (["small"], "jobs", {"model": "default"}, 403),
        (["small"], "jobs", {"model": "small"}, 202),
        (["foundry_agent_service"], "messages", {}, 200),
        (["foundry_agent_service"], "messages", {"model_type": "vllm"}, 403),
        (["large"], "messages", {"model_type": "openai"}, 403),
        (["default"], "orchestrate", {}, 200),
        (["default"], "orchestrate", {"domain": "sales"}, 403),
        (["small"], "orchestrate", {}, 403),
    ],
)
async def test_a_key_limits_the_models(
    limited: Stage, allowed: list[str], route: str, body: dict[str, Any], status: int
) -> None:
    made = await limited.create(models=allowed)
    said = {"user_input": "Hi", "conversation_id": "a"} if route == "orchestrate" else HI
    answer = await limited.api.post(route, json={**said, **body}, headers=bearer(made["key"]))
    assert answer.status_code == status, answer.text
    if status == 403:
        document = assert_problem(answer, 403, "forbidden")
        assert document["errors"] == [{"field": "model", "reason": f"must be one of {allowed[0]}"}]
        assert limited.app.foundry.sent == []


async def test_another_model_answers_only_if_the_key_allows_it(limited: Stage) -> None:
    made = await limited.create(models=["default"])
    limited.app.foundry.then_fail(503)
    said = {"user_input": "Hi", "conversation_id": "a"}
    answer = await limited.api.post("orchestrate", json=said, headers=bearer(made["key"]))
    assert_problem(answer, 503, "service_unavailable")


@pytest.mark.parametrize(
    ("allowed", "asked", "status"),
    [
        (["web_search"], [], 200),
        (["web_search"], ["code_interpreter"], 403),
        ([], ["code_interpreter"], 403),
        ([], [], 200),
    ],
)
async def test_a_key_limits_the_tools(
    stage: Stage, allowed: list[str], asked: list[str], status: int
) -> None:
    made = await stage.create(tools=allowed)
    for route, accepted in (("messages", 200), ("jobs", 202)):
        answer = await stage.api.post(
            route, json={**HI, "tools": asked}, headers=bearer(made["key"])
        )
        assert answer.status_code == (accepted if status == 200 else status), answer.text


async def test_the_catalogue_says_what_a_key_does_not_allow(limited: Stage) -> None:
    made = await limited.create(models=["default", "openai"], tools=["web_search"])
    headers = bearer(made["key"])
    models = (await limited.api.get("models", headers=headers)).json()["data"]
    by_type = {each["model_type"]: each for each in models}
    names = [each["name"] for each in by_type["foundry_agent_service"]["models"]]
    assert names == ["default"]
    assert by_type["openai"]["is_available"]
    assert by_type["vllm"]["unavailable"] == "The client key does not allow it."
    tools = (await limited.api.get("tools", headers=headers)).json()["data"]
    assert {each["name"] for each in tools if each["is_available"]} == {"web_search"}


async def test_the_budget_of_a_key_is_its_own(stage: Stage) -> None:
    budgets = [{"requests": 1, "per": "day"}]
    same = {"owner": OWNER_KEY}
    made = [await stage.create(budgets=budgets, **same) for _ in range(2)]
    first, second, third = (bearer(each["key"]) for each in (*made, await stage.create(**same)))
    for headers in (first, second, third, third):
        answer = await stage.api.post("messages", json=HI, headers=headers)
        assert answer.status_code == 200
    answer = await stage.api.post("messages", json=HI, headers=first)
    document = assert_problem(answer, 429, "budget_exhausted")
    assert document["budget"]["subject"].startswith("key:")
    assert (await stage.api.post("jobs", json=HI, headers=second)).status_code == 202


async def test_a_budget_of_money_needs_prices() -> None:
    async for stage in staged(App(settings=settings())):
        body = {"label": "x", "budgets": [{"money": 1, "per": "day"}]}
        answer = await stage.api.post("keys", json=body, headers=stage.admin)
        assert "PRICES" in assert_problem(answer, 422, "invalid_request")["detail"]


async def test_a_job_spends_from_the_budget_of_the_key_that_submitted_it(stage: Stage) -> None:
    made = await stage.create(budgets=[{"requests": 1, "per": "day"}])
    headers = bearer(made["key"])
    job = (await stage.api.post("jobs", json=HI, headers=headers)).json()
    await stage.services.workers.runner.drain(WakeUp(made["owner"], job["job_id"]))
    answer = await stage.api.post("messages", json=HI, headers=headers)
    assert_problem(answer, 429, "budget_exhausted")


async def test_a_revocation_reaches_another_instance_within_30_seconds(stage: Stage) -> None:
    made = await stage.create()
    other = stage.app.services()
    timer = [0.0]
    other.web.edge.access.keys._timer = lambda: timer[0]  # type: ignore[attr-defined]
    async with caller(other) as api:
        assert (await api.get("jobs", headers=bearer(made["key"]))).status_code == 200
        await stage.api.delete(f"keys/{made['key_id']}", headers=stage.admin)
        timer[0] += CACHE_SECONDS
        assert timedelta(seconds=CACHE_SECONDS) < timedelta(seconds=30)
        assert (await api.get("jobs", headers=bearer(made["key"]))).status_code == 401
