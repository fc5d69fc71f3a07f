"""What concerns the whole instance is shown to operators; users see what is theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from shared.config import AccessSettings, AppSettings
from tests.support.app_on_fakes import App, at_resource
from tests.support.callers import ACCESS, ADMIN, OWNER, TENANT, known
from tests.support.calling import caller

USER = known(TENANT, OWNER)
OPERATOR = known(TENANT, ADMIN, "Agents.Admin")


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    access = AccessSettings.from_env({**ACCESS, "AUTH_MODE": "entra"})
    app = App(settings=AppSettings(foundry=at_resource(), access=access))
    async with caller(app.services()) as client:
        yield client
    await app.aclose()


async def test_users_see_no_counts_of_the_instance(api: httpx.AsyncClient) -> None:
    assert "models" not in (await api.get("metrics", headers=USER)).json()
    assert "models" in (await api.get("metrics", headers=OPERATOR)).json()


async def test_users_see_states_and_no_names_in_readiness(api: httpx.AsyncClient) -> None:
    theirs = (await api.get("health/ready", headers=USER)).json()
    all_ = (await api.get("health/ready", headers=OPERATOR)).json()
    assert theirs["checks"].keys() == all_["checks"].keys()
    assert all(check.keys() == {"status"} for check in theirs["checks"].values())
    assert "agent-jobs" in str(all_)
    assert "agent-" not in str(theirs)


async def test_a_failed_dependency_is_named_to_users_without_its_detail() -> None:
    access = AccessSettings.from_env({**ACCESS, "AUTH_MODE": "entra"})
    app = App(settings=AppSettings(foundry=at_resource(), access=access))
    app.table.available = app.queues.available = False
    async with caller(app.services()) as client:
        answer = await client.get("health/ready", headers=USER)
        assert answer.status_code == 503
        document = answer.json()
        assert document["code"] == "not_ready"
        assert "table" in document["detail"]
        assert "Table Storage" not in answer.text
        assert all(check.keys() == {"status"} for check in document["checks"].values())
    await app.aclose()
