"""Every answer leaves by one door: ids, timing, problems, and never an exception's text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.api.contract import service
from shared.api.threads import CreateThread
from shared.app import Services
from shared.http.answers import Answer
from shared.http.request import MAX_BODY_BYTES, Incoming
from shared.jobs.requests import SubmitJob
from shared.observability.upstream import upstream
from shared.problems import INTERNAL_ERROR
from shared.routes import Route
from shared.turns.body import MAX_MESSAGE_CHARS
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem, caller
from tests.support.scripted_foundry import message_item, response_body

BODIES = ["messages", "threads", "jobs"]
JSON_TYPE = {"content-type": "application/json"}


@pytest.mark.parametrize("given_id", ["abc-1.2:3_4", "x" * 128])
async def test_a_sane_request_id_is_kept(api: httpx.AsyncClient, given_id: str) -> None:
    answer = await api.get("health", headers={"x-request-id": given_id})
    assert answer.headers["x-request-id"] == given_id


@pytest.mark.parametrize("given_id", ["", "x" * 129, "a b", "<script>", "a\tb", "é"])
async def test_any_other_is_replaced(api: httpx.AsyncClient, given_id: str) -> None:
    answer = await api.get("health", headers=[(b"x-request-id", given_id.encode())])
    assert answer.headers["x-request-id"].startswith("req_")


async def test_every_answer_says_how_long_we_took(api: httpx.AsyncClient) -> None:
    for answer in (await api.get("health"), await api.get("threads/x"), await api.get("nowhere")):
        assert 0 <= float(answer.headers["x-overhead-ms"]) < 10_000


async def test_what_foundry_took_is_not_ours(app: App, api: httpx.AsyncClient) -> None:
    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.5)
        return await app.foundry.answer(request)

    app.foundry.then(slow)
    answer = await api.post("messages", json={"message": "Hi"})
    assert float(answer.headers["x-overhead-ms"]) < 400


async def test_what_foundry_took_to_fail_is_not_ours_either(
    app: App, api: httpx.AsyncClient
) -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.5)
        return httpx.Response(500)

    app.foundry.then(slow)
    answer = await api.post("messages", json={"message": "Hi"})
    assert float(answer.headers["x-overhead-ms"]) < 400


async def test_calls_side_by_side_leave_no_less_than_no_time_of_ours(services: Services) -> None:
    async def side_by_side(_: Incoming) -> Answer:
        upstream().seconds += 60.0
        return Answer(body={})

    async with caller(
        services, Route("many", "GET", "api/many", lambda _: side_by_side, service.HEALTH)
    ) as api:
        assert (await api.get("many")).headers["x-overhead-ms"] == "0.00"


async def test_a_bug_is_told_without_its_text(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Incoming) -> Answer:
        raise RuntimeError("AccountKey=abc")

    async with caller(
        services, Route("broken", "GET", "api/broken", lambda _: broken, service.HEALTH)
    ) as api:
        answer = await api.get("broken")
    document = assert_problem(answer, 500, "internal_error")
    assert document["detail"] == INTERNAL_ERROR.detail
    assert "AccountKey" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "AccountKey" in caplog.text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content", [b"{", b"nonsense", b"\xff", b'{"message": NaN', b'"\\u00"'])
async def test_what_is_not_json_is_400(
    app: App, api: httpx.AsyncClient, path: str, content: bytes
) -> None:
    answer = await api.post(path, content=content, headers=JSON_TYPE)
    assert_problem(answer, 400, "invalid_json")
    assert app.table.writes == 0


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content", [b"[]", b"5", b"null", b'"text"'])
async def test_json_that_is_no_object_is_422(
    api: httpx.AsyncClient, path: str, content: bytes
) -> None:
    answer = await api.post(path, content=content, headers=JSON_TYPE)
    assert assert_problem(answer, 422, "invalid_request")["errors"][0]["field"] == "body"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_another_content_type_is_415(api: httpx.AsyncClient, kind: str) -> None:
    answer = await api.post("messages", content=b"{}", headers={"content-type": kind})
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_json_by_any_of_its_names_is_taken(api: httpx.AsyncClient, kind: str) -> None:
    answer = await api.post("messages", content=b'{"message":"Hi"}', headers={"content-type": kind})
    assert answer.status_code == 200


async def test_an_absent_body_is_an_empty_object(api: httpx.AsyncClient) -> None:
    assert (await api.post("threads")).status_code == 201
    assert_problem(await api.post("messages"), 422, "invalid_request")


async def test_wrong_fields_are_all_named(app: App, api: httpx.AsyncClient) -> None:
    body = {"temperature": 9, "colour": "red", "metadata": {"k": 1}, "tools": "x"}
    document = assert_problem(await api.post("messages", json=body), 422, "invalid_request")
    reasons = {error["field"]: error["reason"] for error in document["errors"]}
    assert set(reasons) == {"message", "temperature", "colour", "metadata.k", "tools"}
    assert reasons["message"] == "Field required"
    assert app.foundry.calls == []
    assert app.table.writes == 0


async def test_a_message_beyond_its_limit_is_413(app: App, api: httpx.AsyncClient) -> None:
    too_long = "x" * (MAX_MESSAGE_CHARS + 1)
    for path, body in (
        ("messages", {"message": too_long}),
        ("jobs", {"messages": ["short", too_long]}),
    ):
        assert_problem(await api.post(path, json=body), 413, "too_large")
    assert app.table.writes == 0


async def test_a_body_beyond_its_limit_is_413_without_being_read_whole(
    api: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while sent < 4 * MAX_BODY_BYTES:
            sent += 64 * 1024
            yield b" " * (64 * 1024)

    answer = await api.post("messages", content=endless(), headers=JSON_TYPE)
    assert_problem(answer, 413, "too_large")
    assert sent < 2 * MAX_BODY_BYTES


FOUNDRY_REFUSALS: list[tuple[int, int, str]] = [
    (400, 400, "invalid_request"),
    (401, 503, "authentication_failed"),
    (403, 503, "permission_denied"),
    (404, 502, "not_found"),
    (409, 400, "invalid_request"),
    (429, 429, "rate_limited"),
    (500, 503, "service_unavailable"),
]


@pytest.mark.parametrize(("theirs", "ours", "code"), FOUNDRY_REFUSALS)
async def test_foundrys_refusals_become_problems(
    app: App, api: httpx.AsyncClient, theirs: int, ours: int, code: str
) -> None:
    app.foundry.then_fail(theirs, retry_after="1.2")
    answer = await api.post("messages", json={"message": "Hi"})
    assert assert_problem(answer, ours, code)["retry_after"] == 1.2
    assert answer.headers["retry-after"] == "2"


async def test_storage_that_is_down_is_503(app: App, api: httpx.AsyncClient) -> None:
    app.table.available = False
    for answer in (
        await api.get("threads"),
        await api.post("messages", json={"message": "Hi"}),
        await api.post("jobs", json={"message": "Hi"}),
    ):
        assert_problem(answer, 503, "storage_unavailable")
    assert (await api.get("health")).status_code == 200


async def test_half_a_character_from_a_model_is_no_crash(app: App, api: httpx.AsyncClient) -> None:
    body = json.dumps(response_body(output=[message_item("\ud83d")]))
    app.foundry.then(httpx.Response(200, content=body.encode()))
    answer = await api.post("messages", json={"message": "Hi"})
    assert answer.status_code == 200


NAMES = st.sampled_from([*SubmitJob.model_fields, *CreateThread.model_fields, "owner", "x"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["Hi", "thread_01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(
    path=st.sampled_from([*BODIES, f"threads/{'x'}", "threads/thread_01ARZ3NDEKTSV4RRFFQ69G5FAV"]),
    body=st.dictionaries(NAMES, VALUES, max_size=5),
    patch=st.booleans(),
)
async def test_no_body_is_our_fault(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], patch: bool
) -> None:
    content = json.dumps(body).encode()
    method = "PATCH" if patch else "POST"
    answer = await api.request(method, path, content=content, headers=JSON_TYPE)
    assert answer.status_code < 500 or answer.json()["code"] == "configuration_error"


@FUZZ
@given(content=st.binary(max_size=100), path=st.sampled_from(BODIES))
async def test_no_bytes_are_our_fault(api: httpx.AsyncClient, content: bytes, path: str) -> None:
    answer = await api.post(path, content=content, headers=JSON_TYPE)
    assert answer.status_code < 500


@FUZZ
@given(
    query=st.dictionaries(
        st.sampled_from(["limit", "cursor", "metadata.a", "metadata.", "metadata.ä", "x"]),
        st.text(max_size=30),
        max_size=4,
    )
)
async def test_no_query_is_our_fault(api: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await api.get("threads", params=query)
    assert answer.status_code in {200, 422}


async def test_no_value_breaks_out_of_a_header(services: Services) -> None:
    async def risky(_: Incoming) -> Answer:
        return Answer(
            {}, headers={"x-value": "80 % of a\r\nSet-Cookie: b\x00\u00e9\U0001f600\ud800"}
        )

    async with caller(
        services, Route("risky", "GET", "api/risky", lambda _: risky, service.HEALTH)
    ) as api:
        answer = await api.get("risky")
    assert "set-cookie" not in answer.headers
    quoted = "80 % of a%0D%0ASet-Cookie: b%00%C3%A9%F0%9F%98%80?"
    assert answer.headers["x-value"] == quoted


@pytest.mark.parametrize(("given_value", "sent"), [("a, ", "a,"), (" a b", "a b"), ("  ", "")])
async def test_no_header_has_a_space_at_an_end(
    services: Services, given_value: str, sent: str
) -> None:
    """The worker library's server closes the connection rather than send one."""

    async def padded(_: Incoming) -> Answer:
        return Answer({}, headers={"x-value": given_value})

    async with caller(
        services, Route("padded", "GET", "api/padded", lambda _: padded, service.HEALTH)
    ) as api:
        answer = await api.get("padded")
    assert answer.headers["x-value"] == sent
