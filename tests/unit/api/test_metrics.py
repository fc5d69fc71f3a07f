"""`GET /metrics` and `GET /usage`: what callers see of their own, and who sees more."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.config import AppSettings, SpendingSettings
from shared.config.spending import NANOS
from shared.state.turns import Attribution, TurnEffort, TurnStatus
from tests.support.app_on_fakes import App
from tests.support.calling import assert_problem, caller
from tests.unit.metering.test_meter import TURN

CLIENT_KEYS = {
    "total_requests",
    "successful_requests",
    "failed_requests",
    "in_flight",
    "average_latency",
    "p50_latency",
    "p95_latency",
    "p99_latency",
    "total_tokens_used",
    "input_tokens_used",
    "output_tokens_used",
    "retries",
    "reconciliations",
    "rate_limit_waits",
}
PRICES = '{"currency": "USD", "models": {"*": {"input": 1, "output": 1}}}'


@pytest.fixture
async def api(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(services) as client:
        yield client


def counted(services: Services, **changes: Any) -> None:
    turn = replace(TURN, owner="key", created_at=services.core.clock())
    services.core.meter.record(replace(turn, **changes))


async def test_the_client_metrics_keep_their_names(api: httpx.AsyncClient) -> None:
    document = (await api.get("metrics")).json()
    assert document.keys() >= CLIENT_KEYS
    assert {document[name] for name in CLIENT_KEYS} == {0}


async def test_metrics_come_in_groups(services: Services, api: httpx.AsyncClient) -> None:
    counted(services, domain="law", latency=2.0)
    counted(services, domain="law", latency=4.0)
    counted(services, model="m2", status=TurnStatus.FAILED, error_code="timeout")
    for window in ("1h", "24h", "30d"):
        document = (
            await api.get("metrics", params={"by": "domain,model", "window": window})
        ).json()
        assert (document["total_requests"], document["failures"]) == (3, {"timeout": 1})
        general, law = document["groups"]
        assert (law["domain"], law["model"], law["total_requests"]) == ("law", "m", 2)
        assert law["average_latency"] == 3
        assert 2 <= law["p50_latency"] <= 2.4
        assert 4 <= law["p99_latency"] <= 4.8
        assert (general["model"], general["failed_requests"]) == ("m2", 1)


async def test_callers_see_only_their_own_metrics(
    services: Services, api: httpx.AsyncClient
) -> None:
    counted(services, owner="somebody")
    assert (await api.get("metrics")).json()["total_requests"] == 0
    assert (await api.get("usage")).json()["total"]["requests"] == 0
    for path in ("metrics", "usage"):
        assert_problem(await api.get(path, params={"all_owners": "true"}), 403, "forbidden")


@pytest.mark.parametrize(
    ("path", "field", "text"),
    [
        ("metrics", "window", "2h"),
        ("metrics", "by", "owner"),
        ("metrics", "by", "domain,domain"),
        ("usage", "by", "agent"),
        ("usage", "from", "yesterday"),
        ("usage", "from", "2020-01-01"),
        ("usage", "to", "2020-01-32"),
    ],
)
async def test_a_wrong_question_is_refused(
    api: httpx.AsyncClient, path: str, field: str, text: str
) -> None:
    answer = await api.get(path, params={field: text})
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["field"] == field


async def test_gauges_are_exact(app: App, services: Services, api: httpx.AsyncClient) -> None:
    for expires_in in (None, 3600, 90_000, 60):
        body = {"expires_in": expires_in} if expires_in else {}
        (await api.post("threads", json=body)).raise_for_status()
    app.clock.advance(7200)
    thread_id = (await api.post("threads", json={})).json()["thread_id"]
    for _ in range(3):
        await api.post("jobs", json={"message": "Hi", "thread_id": thread_id})
    await api.post("messages", json={"message": "Hi"})
    gauges = (await api.get("metrics")).json()["gauges"]
    assert gauges == {
        "threads": 3,
        "threads_active_hour": 1,
        "threads_active_day": 3,
        "threads_expiring": 1,
        "jobs_waiting": 3,
        "jobs_running": 0,
        "complete": True,
    }


@pytest.fixture
async def priced(app: App) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    spending = SpendingSettings(prices=PRICES)
    app.settings = AppSettings(foundry=app.settings.foundry, spending=spending)
    services = app.services()
    async with caller(services) as client:
        yield services, client


async def test_usage_says_who_used_what(
    priced: tuple[Services, httpx.AsyncClient], app: App
) -> None:
    services, api = priced
    effort = TurnEffort(cost=NANOS // 4)
    counted(services, attribution=Attribution("finance", "u-1"), effort=effort)
    counted(services, attribution=Attribution("finance", "u-2"), effort=effort)
    counted(services, attribution=Attribution("law"), usage={}, effort=TurnEffort(unreported=1))
    app.clock.advance(86_400)
    counted(services, effort=effort, created_at=services.core.clock())
    answer = (await api.get("usage", params={"by": "department,day"})).json()
    kept = [(g["day"], g["department"], g["requests"], g["cost"]) for g in answer["groups"]]
    assert kept == [
        ("2026-03-01", "finance", 2, 0.5),
        ("2026-03-02", "finance", 1, 0.25),
        ("2026-03-01", "law", 1, None),
    ]
    assert answer["groups"][2]["total_tokens"] is None
    assert answer["groups"][2]["requests_of_unknown_usage"] == 1
    assert (answer["total"]["cost"], answer["total"]["currency"]) == (0.75, "USD")
    before = {"to": "2026-03-01", "by": ""}
    answer = (await api.get("usage", params=before)).json()
    assert answer["total"]["requests"] == 3


async def test_usage_says_how_many_turns_failed_and_how_long_they_took(
    priced: tuple[Services, httpx.AsyncClient],
) -> None:
    services, api = priced
    counted(services, model="fast", latency=0.1)
    counted(services, model="slow", latency=2.0, status=TurnStatus.FAILED, error_code="timeout")
    answer = (await api.get("usage", params={"by": "model"})).json()
    fast, slow = answer["groups"]
    assert (fast["model"], fast["failed_requests"], fast["average_latency"]) == ("fast", 0, 0.1)
    assert (slow["model"], slow["failed_requests"], slow["average_latency"]) == ("slow", 1, 2.0)
    assert 2.0 <= slow["p95_latency"] <= 2.4
    assert answer["total"]["failed_requests"] == 1
    assert answer["total"]["average_latency"] == pytest.approx(1.05)


async def test_usage_comes_as_a_table(priced: tuple[Services, httpx.AsyncClient]) -> None:
    services, api = priced
    counted(services, attribution=Attribution("=cmd()"), effort=TurnEffort(cost=NANOS))
    counted(services, attribution=Attribution("law"), usage={}, effort=TurnEffort(unreported=1))
    answer = await api.get("usage", params={"by": "department"}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.content.startswith(codecs.BOM_UTF8)  # or Excel takes it for another encoding
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [line["department"] for line in lines] == ["'=cmd()", "law"]
    assert [line["cost"] for line in lines] == ["1.0", ""]
    assert lines[1]["total_tokens"] == ""


BEFORE_A_SIGN = [
    "",
    " ",
    "\t",
    "\r",
    "\n",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "\u3000 \u2028",
    "\u202e\x00",
]


@pytest.mark.parametrize("sign", "=+-@＝＋－＠﹢﹣﹦﹫−⁼₊")  # noqa: RUF001
async def test_no_cell_is_a_formula_however_it_is_spelt(
    priced: tuple[Services, httpx.AsyncClient], sign: str
) -> None:
    services, api = priced
    texts = [f"{before}{sign}cmd|' /C calc'!A0" for before in BEFORE_A_SIGN]
    for text in texts:
        counted(services, attribution=Attribution(user_id=text), effort=TurnEffort(cost=NANOS))
    answer = await api.get("usage", params={"by": "user_id"}, headers={"Accept": "text/csv"})
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert sorted(line["user_id"] for line in lines) == sorted(f"'{text}" for text in texts)
    assert {line["cost"] for line in lines} == {"1.0"}


@pytest.mark.parametrize("text", ["\tlaw", "\rlaw", "law", "a=1", " law", "10-2", "ÄÖ", "3", ""])
async def test_other_cells_stay_as_they_are(
    priced: tuple[Services, httpx.AsyncClient], text: str
) -> None:
    services, api = priced
    counted(services, attribution=Attribution(user_id=text))
    answer = await api.get("usage", params={"by": "user_id"}, headers={"Accept": "text/csv"})
    (line,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert line["user_id"] == (f"'{text}" if text[:1] in {"\t", "\r"} and text else text)


async def test_usage_is_the_same_when_days_are_summed_up(
    priced: tuple[Services, httpx.AsyncClient], app: App
) -> None:
    services, api = priced
    for _ in range(5):
        counted(services, effort=TurnEffort(cost=3), created_at=services.core.clock())
        app.clock.advance(timedelta(hours=20).total_seconds())
    before = (await api.get("usage")).json()
    await services.core.meter.flush()
    assert (await api.get("usage")).json() == before
    await services.timers.roll_up.run()
    assert (await api.get("usage")).json() == before
    assert before["total"]["requests"] == 5
