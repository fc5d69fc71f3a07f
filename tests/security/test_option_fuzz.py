"""Anything at all for the options of a message, on every way in: refused, or taken; never a fault.

`FUZZ_EXAMPLES` says how many are tried of each; 5,000 take some minutes.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ulid import ULID

from shared.app import Services
from shared.jobs.intake import IntakeMessage
from tests.unit.api.calling import caller
from tests.unit.conftest import App

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 100)

MODELS_FAULT = "response_format_mismatch"
"""Of 502: the scripted model does not write what a schema asks for."""

KEYWORDS = """type properties required items prefixItems anyOf oneOf allOf not if then else $ref
$defs $id enum const pattern patternProperties additionalProperties unevaluatedProperties minimum
multipleOf maxLength uniqueItems contains propertyNames dependentSchemas format $schema $dynamicRef
schema json_schema name strict title""".split()  # noqa: SIM905 - as a list, it is a page long
WORDS = """object array string integer null json_schema json_object text # #/ #/$defs/a
#/properties http://127.0.0.1/x (a+)+$ a{1000}{1000} (?=x) [ \\p{L}{9} date-time name a
$defs""".split()  # noqa: SIM905

texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(WORDS)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
scalars = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
schemas = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYWORDS) | texts, inner, max_size=5)
    ),
    max_leaves=20,
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas that get as far as to be compiled."""
    return {
        **draw(st.dictionaries(st.sampled_from(KEYWORDS), schemas, max_size=5)),
        "type": "object",
    }


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
beginnings = st.sampled_from(
    ["data:", "DATA:image/png;base64,", "data:image/png;base64,\u00e9", "https://", "//", "http:["]
)
images = st.lists(
    st.builds("{}{}".format, beginnings, texts | st.just(PNG)) | texts | scalars, max_size=4
)
OPTIONS = {
    "images": images | anything,
    "response_format": objects() | schemas | anything,
    "metadata": st.dictionaries(texts, texts, max_size=4) | anything,
    "tools": st.lists(texts, max_size=4) | anything,
}
bodies = st.fixed_dictionaries({"message": texts}, optional=OPTIONS)

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
    await services.inlet.receive(IntakeMessage(str(ULID()), services.clock(), content))
