"""Requests that match no route: 404 for an unknown address, 405 for an unknown method."""

from __future__ import annotations

import httpx
import pytest

from shared.routes import Unmatched
from tests.support.calling import assert_problem


@pytest.mark.parametrize(
    "path", ["nowhere", "", "threads/x/y", "threads//messages", "jobs/x/cancel/now"]
)
async def test_an_unknown_address_is_404(api: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        answer = await api.request(method, path)
        assert_problem(answer, 404, "not_found")
        assert "allow" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "messages", "POST"),
        ("DELETE", "threads", "GET, POST"),
        ("PUT", "threads/x", "DELETE, GET, PATCH"),
        ("POST", "health", "GET"),
        ("DELETE", "threads/x/messages", "GET, POST"),
    ],
)
async def test_an_unknown_method_is_405_and_says_which_there_are(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert allowed in assert_problem(answer, 405, "method_not_allowed")["detail"]
    assert answer.headers["allow"] == allowed


def test_a_template_is_taken_literally_but_for_its_parameters() -> None:
    table = Unmatched([("GET", "openapi.json"), ("GET", "a/{b}/c/{d}")])
    assert table.methods("openapi.json") == ["GET"]
    assert table.methods("openapiXjson") == []
    assert table.methods("a/1/c/2") == ["GET"]
    assert table.methods("a/1/2/c/3") == []


async def test_health_tells_nothing_of_what_stands_behind(api: httpx.AsyncClient) -> None:
    answer = await api.get("health")
    assert answer.json() == {"status": "ok"}


async def test_metrics_are_the_clients_own(api: httpx.AsyncClient) -> None:
    await api.post("messages", json={"message": "Hi"})
    figures = (await api.get("metrics")).json()
    assert figures["total_requests"] == figures["successful_requests"] == 1
    assert figures["total_tokens_used"] == 5
