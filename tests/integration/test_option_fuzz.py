"""Anything at all for the options of a message, on every way in: refused, or taken; never a fault.

`FUZZ_EXAMPLES` says how many are tried of each; 5,000 take some minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from ulid import ULID

from shared.app import Services
from shared.jobs.intake import IntakeMessage
from tests.support.app_on_fakes import App
from tests.support.calling import caller
from tests.support.odd_bodies import bodies

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 100)

MODELS_FAULT = "response_format_mismatch"
"""Of 502: the scripted model does not write what a schema asks for."""

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    yield app
    await app.aclose()


@pytest.fixture
def services(app: App) -> Services:
    return app.services()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(services) as client:
        yield client


async def answer_to(api: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"content-type": "application/json"}
    answer = await api.post(path, content=json.dumps(body), headers=headers)
    if answer.status_code >= 500:
        assert answer.json()["code"] == MODELS_FAULT, answer.text
    for name, value in answer.headers.items():
        assert value.isprintable(), name
    return answer


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies)
async def test_messages(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await answer_to(api, "messages", body)


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies)
async def test_threads(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    created = await api.post("threads", json={})
    thread_id = created.json()["thread_id"]
    await answer_to(api, f"threads/{thread_id}/messages", body)
    after = await answer_to(api, f"threads/{thread_id}/messages", {"message": "And now?"})
    assert after.status_code == 200, "what came before must not break the conversation"


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies)
async def test_jobs(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await answer_to(api, "jobs", body)
    assert answer.status_code < 500


@pytest.mark.timeout(3600)
@fuzzed
@given(body=bodies)
async def test_the_queue(services: Services, body: dict[str, Any]) -> None:
    content = json.dumps({**body, "owner": "tenant:principal"}).encode()
    await services.workers.intake.receive(
        IntakeMessage(str(ULID()), services.core.clock(), content)
    )
