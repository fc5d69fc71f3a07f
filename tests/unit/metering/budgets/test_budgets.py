"""Budgets: which apply, what they cost, what is refused, and what is settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from shared.app import Services
from shared.config import AccessSettings, AppSettings, FoundryAgentServiceConfig, SpendingSettings
from shared.config.spending import NANOS, Period, read_budgets, read_prices
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.metering.budgets.budgets import Budgets, Reservation
from shared.metering.budgets.limits import (
    Amount,
    BudgetExhaustedError,
    BudgetTooSmallError,
    CostEstimate,
    Limit,
    Measure,
    limits_of,
)
from shared.state.jobs import JobStatus
from tests.support.app_on_fakes import OWNER, RESOURCE, App, at_resource
from tests.support.calling import assert_problem, caller
from tests.support.fakes import FakeClock, FakeTable
from tests.support.scripted_foundry import response_body

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MUCH = '[{"owner": "*", "tokens": 1000000, "per": "day"}]'


def test_the_more_particular_budget_counts() -> None:
    budgets = read_budgets(
        """[{"owner": "*", "tokens": 100, "per": "day"},
            {"owner": "a", "tokens": 900, "per": "day"},
            {"owner": "*", "tokens": 50, "per": "day"}, {"owner": "*", "concurrent": 3},
            {"department": "*", "money": 5, "per": "month"}]"""
    )
    found = {(each.subject, each.measure): each.amount for each in limits_of(budgets, "a", "law")}
    assert found == {
        ("owner:a", Measure.TOKENS): 900,
        ("owner:a", Measure.CONCURRENT): 3,
        ("department:law", Measure.MONEY): 5 * NANOS,
    }
    assert {each.amount for each in limits_of(budgets, "b", None)} == {50, 3}


@pytest.mark.parametrize(
    ("period", "resets_at"),
    [
        (Period.MINUTE, "2026-12-31T23:59:00+00:00"),
        (Period.DAY, "2027-01-01T00:00:00+00:00"),
        (Period.MONTH, "2027-01-01T00:00:00+00:00"),
    ],
)
def test_a_budget_resets_when_its_period_ends(period: Period, resets_at: str) -> None:
    limit = Limit("owner:a", Measure.REQUESTS, period, 1)
    assert limit.resets_at(datetime(2026, 12, 31, 23, 58, 59, tzinfo=UTC)).isoformat() == resets_at


def test_an_estimate_covers_text_images_history_and_answer() -> None:
    prices = read_prices('{"models": {"m": {"input": 1, "output": 2}}}')
    need = CostEstimate("m", 300, 1, 500, 1000).need(prices)
    assert need == Amount(101 + 1500 + 500 + 1000, 1000 * (2101 + 2 * 1000), 1)
    assert CostEstimate("unknown", 0, 0, 0, 1).need(prices).nanos > 0


@pytest.fixture
async def table() -> FakeTable:
    return FakeTable()


async def test_far_from_the_limit_most_turns_cost_no_transaction(table: FakeTable) -> None:
    budgets = Budgets(read_budgets(MUCH), table, FakeClock())
    for _ in range(1000):
        async with await budgets.reserve("o", None, Amount(100, 0, 1)) as hold:
            hold.spend(Amount(20, 0, 1))
    assert table.transactions <= 10
    await budgets.aclose()
    (row,) = table.rows(next(iter(table.partitions)))
    assert (row.values["spent"], row.values["claimed"]) == (20_000, 20_000)


async def test_a_new_instance_knows_what_was_spent(table: FakeTable) -> None:
    clock = FakeClock()
    text = '[{"owner": "*", "tokens": 1000, "per": "day"}]'
    first = Budgets(read_budgets(text), table, clock)
    async with await first.reserve("o", None, Amount(900)) as hold:
        hold.spend(Amount(850))
    await first.aclose()
    second = Budgets(read_budgets(text), table, clock)
    with pytest.raises(BudgetExhaustedError, match="150 are left") as refusal:
        await second.reserve("o", None, Amount(200))
    assert refusal.value.retry_after == 12 * 3600
    async with await second.reserve("o", None, Amount(100)) as hold:
        assert "95 % used" in hold.warnings[0]
    await (await second.reserve("somebody else", None, Amount(900))).settle()
    clock.advance(12 * 3600)
    await (await second.reserve("o", None, Amount(900))).settle()
    await second.aclose()


async def test_what_one_budget_refuses_is_given_back_to_the_others(table: FakeTable) -> None:
    text = """[{"owner": "*", "concurrent": 2}, {"owner": "*", "tokens": 10, "per": "day"}]"""
    budgets = Budgets(read_budgets(text), table, FakeClock())
    first = await budgets.reserve("o", None, Amount(5))
    with pytest.raises(BudgetExhaustedError):
        await budgets.reserve("o", None, Amount(9))
    second = await budgets.reserve("o", None, Amount(5))
    await asyncio.gather(first.settle(), second.settle())
    await budgets.aclose()


async def test_a_renewal_drops_no_account_that_a_turn_is_about_to_use(table: FakeTable) -> None:
    text = """[{"owner": "o", "tokens": 99, "per": "day"}, {"owner": "o", "concurrent": 1},
               {"owner": "another", "tokens": 99, "per": "day"}]"""
    clock = FakeClock()
    budgets = Budgets(read_budgets(text), table, clock)
    await (await budgets.reserve("o", None, Amount(5))).settle()
    await budgets.renew(closing=True)
    clock.advance(3600)  # by now, the account of its concurrent turns could be dropped
    another, is_renewed = await budgets.reserve("another", None, Amount(5)), asyncio.Event()
    reserving: list[asyncio.Task[Reservation]] = []

    async def begin_to_reserve() -> None:
        table.before_next_write(is_renewed.wait)  # in the account of tokens
        reserving.append(asyncio.create_task(budgets.reserve("o", None, Amount(5))))
        await asyncio.sleep(0)

    another.spend(Amount(1))
    await another.settle()
    table.before_next_write(begin_to_reserve)
    await budgets.renew()
    is_renewed.set()
    running = await reserving[0]
    with pytest.raises(BudgetExhaustedError, match="concurrent"):
        await budgets.reserve("o", None, Amount(5))
    await running.settle()
    await budgets.aclose()


async def test_what_a_whole_budget_does_not_hold_is_refused_for_good(table: FakeTable) -> None:
    budgets = Budgets(read_budgets(MUCH), table, FakeClock())
    with pytest.raises(BudgetTooSmallError, match="1000000 tokens per day of owner:o"):
        await budgets.reserve("o", None, Amount(1_000_001))
    assert table.transactions == 0
    await (await budgets.reserve("o", None, Amount(1_000_000))).settle()
    await budgets.aclose()


async def test_the_use_of_a_budget_covers_all_instances_and_writes_nothing(
    table: FakeTable,
) -> None:
    text = """[{"owner": "*", "tokens": 1000, "per": "day"}, {"owner": "*", "concurrent": 3},
               {"department": "law", "requests": 5, "per": "day"}]"""
    clock = FakeClock()
    first, second = (Budgets(read_budgets(text), table, clock) for _ in range(2))
    async with await first.reserve("o", "law", Amount(100, 0, 1)) as ended:
        ended.spend(Amount(80, 0, 1))
    await first.renew(closing=True)
    running = await second.reserve("o", None, Amount(300, 0, 1))
    before = {partition: table.rows(partition) for partition in table.partitions}
    for instance in (second, Budgets(read_budgets(text), table, clock)):
        uses = await instance.use("o", ["law"])
        found = {(use.limit.subject, use.limit.measure): use for use in uses}
        tokens = found["owner:o", Measure.TOKENS]
        concurrent = found["owner:o", Measure.CONCURRENT]
        requests = found["department:law", Measure.REQUESTS]
        assert (tokens.used, concurrent.used, requests.used) == (80, 0, 1)
        assert 300 <= tokens.reserved <= 320  # another instance holds some for its next turns
        assert tokens.left == 1000 - 80 - tokens.reserved
        assert (concurrent.reserved, concurrent.left, concurrent.resets_at) == (1, 2, None)
        assert (requests.reserved, requests.left) == (0, 4)
        assert tokens.resets_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert [use.left for use in await second.use("another owner")] == [1000, 3]
    assert {partition: table.rows(partition) for partition in table.partitions} == before
    await running.settle()
    clock.advance(24 * 3600)
    assert [use.used for use in await second.use("o")] == [0, 0]
    await first.aclose()
    await second.aclose()


def limited(app: App, budgets: str, prices: str = "", *, trusting: bool = False) -> Services:
    app.settings = AppSettings(
        foundry=FoundryAgentServiceConfig(
            endpoint_url=RESOURCE, api_key="secret", max_retries=0, max_tokens=100
        ),
        spending=SpendingSettings(budgets=budgets, prices=prices),
        access=AccessSettings(trust_stated_department=trusting),
    )
    return app.services()


@pytest.fixture
async def api(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(limited(app, '[{"owner": "key", "tokens": 120, "per": "day"}]')) as client:
        yield client


async def test_nobody_without_a_budget_pays_for_budgets(app: App, services: Services) -> None:
    async with caller(limited(app, '[{"owner": "a", "tokens": 9, "per": "day"}]')) as client:
        (await client.post("messages", json={"message": "Hi"})).raise_for_status()
    assert app.metrics_table.transactions == 0


async def test_a_refusal_says_what_is_left_and_until_when(app: App, api: httpx.AsyncClient) -> None:
    for _ in range(4):
        answer = await api.post("messages", json={"message": "Hi"})
        assert answer.status_code == 200
    calls = len(app.foundry.calls)
    for headers in ({}, {"Accept": "text/event-stream"}):
        answer = await api.post("messages", json={"message": "Hi"}, headers=headers)
        problem = assert_problem(answer, 402, "budget_exhausted")
        assert problem["budget"] == {
            "subject": "owner:key",
            "of": "tokens",
            "per": "day",
            "limit": 120,
            "left": 100,
            "resets_at": "2026-03-02T00:00:00+00:00",
        }
        assert answer.headers["retry-after"] == str(12 * 3600)
    assert len(app.foundry.calls) == calls
    assert len(app.table.rows("key", "turn:")) == 4
    app.clock.advance(12 * 3600)
    assert (await api.post("messages", json={"message": "Hi"})).status_code == 200


async def test_callers_are_warned_before_the_end(app: App) -> None:
    services = limited(app, '[{"department": "*", "tokens": 120, "per": "day"}]', trusting=True)
    body = {"message": "Hi", "metadata": {"department": "law"}}
    async with caller(services) as client:
        for headers in ({}, {"Accept": "text/event-stream"}):
            answer = await client.post("messages", json=body, headers=headers)
            assert "of department:law" in answer.headers["x-budget-warning"]
        answer = await client.post("messages", json={"message": "Hi"})
        assert "x-budget-warning" not in answer.headers


async def test_a_threads_department_pays_for_its_turns(app: App) -> None:
    limits = '[{"department": "Law", "requests": 1, "per": "minute"}]'
    services = limited(app, limits, trusting=True)
    async with caller(services) as client:
        made = await client.post("threads", json={"metadata": {"department": " lAW "}})
        path = f"threads/{made.json()['thread_id']}/messages"
        assert (await client.post(path, json={"message": "Hi"})).status_code == 200
        refused = await client.post(path, json={"message": "Hi"})
        assert assert_problem(refused, 429, "budget_exhausted")["budget"]["left"] == 0
        app.clock.advance(60)
        assert (await client.post(path, json={"message": "Hi"})).status_code == 200


async def test_turns_at_the_same_time_are_limited(app: App) -> None:
    services, done = limited(app, '[{"owner": "*", "concurrent": 1}]'), asyncio.Event()
    arrived = app.foundry.then_hold(done)
    async with caller(services) as client:
        first = asyncio.create_task(client.post("messages", json={"message": "Hi"}))
        await arrived.wait()
        refused = await client.post("messages", json={"message": "Hi"})
        assert_problem(refused, 429, "budget_exhausted")
        done.set()
        assert (await first).status_code == 200
        assert (await client.post("messages", json={"message": "Hi"})).status_code == 200


async def test_a_failed_turn_gives_back_what_it_did_not_use(app: App) -> None:
    services = limited(app, '[{"owner": "*", "tokens": 120, "per": "day"}]')
    async with caller(services) as client:
        for _ in range(3):
            app.foundry.then_fail(400)
            assert (await client.post("messages", json={"message": "Hi"})).status_code == 400
        app.foundry.then_hear()  # what it used is unknown, so the estimate counts
        assert (await client.post("messages", json={"message": "Hi"})).status_code == 503
        assert (await client.post("messages", json={"message": "Hi"})).status_code == 402


async def test_money_is_a_budget_too(app: App) -> None:
    prices = '{"models": {"*": {"input": 1, "output": 1}}}'
    services = limited(app, '[{"owner": "*", "money": 0.00011, "per": "month"}]', prices)
    async with caller(services) as client:
        statuses = [
            (await client.post("messages", json={"message": "Hi"})).status_code for _ in range(4)
        ]
    assert statuses == [200, 200, 402, 402]


async def run_jobs(app: App, services: Services) -> None:
    while app.queues.wake_ups:
        wake = app.queues.wake_ups.pop(0)
        if wake.delay_seconds:
            app.clock.advance(wake.delay_seconds)
        await services.workers.runner.drain(WakeUp(wake.owner, wake.lane))


@pytest.mark.parametrize(
    ("life", "ends"), [(None, "succeeded"), (90_000, "succeeded"), (3600, "failed")]
)
async def test_a_job_waits_for_its_budget_while_it_is_wanted(
    app: App, life: int | None, ends: str
) -> None:
    services = limited(app, '[{"owner": "*", "tokens": 110, "per": "day"}]')
    fields: dict[str, Any] = {"expires_in": life} if life else {}
    first = await services.core.submission.submit(OWNER, SubmitJob(message="Hi"))
    second = await services.core.submission.submit(OWNER, SubmitJob(message="Hi"))
    third = await services.core.submission.submit(OWNER, SubmitJob(message="Hi", **fields))
    wake_ups, app.queues.wake_ups = app.queues.wake_ups, []
    for wake in wake_ups:
        await services.workers.runner.drain(WakeUp(wake.owner, wake.lane))
    jobs = [await services.core.jobs.get(OWNER, each.job_id) for each in (first, second, third)]
    waiting = JobStatus.FAILED if ends == "failed" else JobStatus.QUEUED
    assert [job.status for job in jobs] == [JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, waiting]
    assert json.loads(json.dumps(jobs[2].problem))["code"] == "budget_exhausted"
    await run_jobs(app, services)
    assert (await services.core.jobs.get(OWNER, third.job_id)).status == ends
    assert app.clock().day == (1 if ends == "failed" else 2)


async def test_an_agent_that_is_only_a_label_does_not_hide_the_price_of_the_model(app: App) -> None:
    app.settings = AppSettings(
        foundry=at_resource(agent_id="label", model="prod-chat", max_retries=0),
        spending=SpendingSettings(prices='{"models": {"prod-chat": {"input": 1, "output": 1}}}'),
    )
    app.foundry.then(httpx.Response(200, json=response_body(model="gpt-4.1-2025-04-14")))
    async with caller(app.services()) as client:
        (await client.post("messages", json={"message": "Hi"})).raise_for_status()
    (turn,) = app.table.rows("key", "turn:-:")
    assert turn.values["cost"] > 0
