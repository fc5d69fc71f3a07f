"""Whatever stands in the query of a GET route, the answer is no fault of ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.asking import submit

LONG = 20_000
NASTY = {
    "long": "x" * LONG,
    "long quotes": "%27" * LONG,
    "quotes": "%27%20or%20PartitionKey%20ne%20%27%27%22",
    "NUL": "a%00b",
    "control": "a%0d%0aX-Evil:%201%1b%7f",
    "C1": "%c2%85",
    "surrogate": "%ED%A0%80",
    "half an escape": "%",
    "no UTF-8": "%ff%fe",
    "noncharacter": "%ef%bf%bf",
    "wide": quote("\N{GRINNING FACE}" * 400),
    "empty": "",
    "wide digits": "%ef%bc%91",
    "huge number": "9" * 400,
    "negative": "-1",
    "list": "a,b,,%2C,",
}
ROUTES = {
    "threads": ("limit", "cursor", "metadata.k", "metadata.", "owner"),
    "threads/{thread}": ("owner", "unknown"),
    "threads/{thread}/messages": ("limit", "cursor"),
    "jobs": ("limit", "cursor", "status"),
    "jobs/{job}": ("wait",),
    "audit": (
        *("from", "to", "action", "outcome", "thread_id", "job_id", "limit", "cursor"),
        *("subject", "face", "all_owners"),
    ),
    "metrics": ("window", "by", "all_owners"),
    "usage": ("from", "to", "by", "all_owners"),
    "me": ("owner", "unknown"),
    "models": ("owner", "unknown"),
    "tools": ("unknown",),
    "metrics/prometheus": ("unknown",),
    "health/ready": ("unknown",),
    "health": ("unknown",),
}


@pytest.fixture
async def ids(caller: httpx.AsyncClient, thread_id: str) -> dict[str, str]:
    return {"thread": thread_id, "job": await submit(caller, message="Hello")}


@pytest.mark.parametrize("route", ROUTES)
async def test_no_query_is_a_fault_of_ours(
    caller: httpx.AsyncClient, ids: dict[str, str], route: str
) -> None:
    for name in ROUTES[route]:
        for kind, text in NASTY.items():
            answer = await caller.get(f"{route.format_map(ids)}?{name}={text}")
            told: Any = (route, name, kind, answer.status_code, answer.text[:200])
            assert answer.status_code < 500, told
            if "long" in kind and route != "health":
                assert answer.status_code in {403, 414, 422, 431}, told
            assert len(answer.content) < 20_000 or answer.status_code == 200, told
            assert "X-Evil" not in answer.headers


async def test_filters_that_are_long_together_are_refused(caller: httpx.AsyncClient) -> None:
    text = quote("\N{GRINNING FACE}" * 512)
    query = "&".join(f"metadata.k{number}={text}" for number in range(8))
    answer = await caller.get(f"threads?{query}")
    assert answer.status_code in {414, 422, 431}, answer.text
    one = await caller.get("threads?metadata.k=" + quote("'" * 512))
    assert one.status_code == 200, one.text
