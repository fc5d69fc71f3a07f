"""What Prometheus reads: the fleet's figures, as its own parser understands them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from shared.config import DEFAULT_MODEL
from shared.metering.counts import BOUNDS
from tests.support.callers import ACCESS, ADMIN, OWNER, TENANT, known
from tests.support.served import Deployment, EmulatorControl

from .conftest import App, serving

PRICES = f'{{"currency": "EUR", "models": {{"{DEFAULT_MODEL}": {{"input": 2, "output": 8}}}}}}'


@dataclass
class Scraped:
    """What one scrape gave."""

    families: Mapping[str, Metric]

    @classmethod
    def of(cls, answer: httpx.Response) -> Scraped:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        families: Iterable[Metric] = text_string_to_metric_families(answer.text)
        return cls({family.name: family for family in families})

    def total(self, sample: str, **labels: str) -> float:
        """The sum of all samples of a name with these labels."""
        return sum(
            each.value
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        )


async def scraped(app: App) -> Scraped:
    await app.services.core.meter.flush()
    return Scraped.of(await app.caller.get("metrics/prometheus"))


async def test_turns_are_counted_by_domain_model_and_mode(
    deployment: Deployment, emulator: EmulatorControl
) -> None:
    async with serving(deployment, PRICES=PRICES, FOUNDRY_MAX_RETRIES="0") as app:
        answers = [
            (await app.caller.post("messages", json={"message": text, "domain": "law"})).json()
            for text in ("One", "Two words")
        ]
        await emulator.inject("status", status=400, body={"error": {"message": "No"}})
        failed = await app.caller.post("messages", json={"message": "Three", "domain": "law"})
        told = await scraped(app)
    law = {"domain": "law", "model": DEFAULT_MODEL, "mode": "sync"}
    assert told.total("aos_turns_total", **law) == 3
    assert told.total("aos_turns_succeeded_total", **law) == 2
    assert told.total("aos_turn_failures_total", **law, code=failed.json()["code"]) == 1
    for kind in ("input", "output"):
        used = sum(answer["usage"][f"{kind}_tokens"] for answer in answers)
        assert told.total("aos_tokens_total", model=DEFAULT_MODEL, kind=kind) == used > 0
    tokens = [answer["usage"] for answer in answers]
    cost = sum(2 * each["input_tokens"] + 8 * each["output_tokens"] for each in tokens) / 1e6
    assert told.total("aos_cost_total", currency="EUR") == pytest.approx(cost)
    buckets = [
        sample
        for sample in told.families["aos_turn_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert {sample.labels["le"] for sample in buckets} <= {*map(repr, BOUNDS), "+Inf"}
    assert told.total("aos_turn_duration_seconds_count", **law) == 3
    assert told.total("aos_turn_duration_seconds_bucket", **law, le="+Inf") == 3
    assert told.total("aos_turn_duration_seconds_sum", **law) > 0


async def test_what_one_instance_wrote_another_tells(deployment: Deployment) -> None:
    async with serving(deployment) as first, serving(deployment) as second:
        await first.caller.post("messages", json={"message": "Hello"})
        before = (await scraped(second)).total("aos_turns_total")
        await first.services.core.meter.flush()
        after = await scraped(second)
        again = await scraped(first)
    assert (before, after.total("aos_turns_total"), again.total("aos_turns_total")) == (0, 1, 1)


async def test_dependencies_and_queues_are_told(app: App) -> None:
    await app.services.core.queues.reject(app.deployment.lanes, b"never mind")
    told = await scraped(app)
    assert told.total("aos_dependency_up", dependency="foundry") == 1
    assert told.total("aos_dependency_latency_seconds", dependency="table") > 0
    assert told.total("aos_poison_messages", queue=f"{app.deployment.lanes}-poison") == 1
    assert told.total("aos_queue_oldest_seconds", queue=app.deployment.lanes) == 0


async def test_labels_may_hold_anything(app: App) -> None:
    domain = 'a"b\\c é'
    answer = await app.caller.post("messages", json={"message": "Hello", "domain": domain})
    assert answer.status_code == 200, answer.text
    told = await scraped(app)
    assert told.total("aos_turns_total", domain=domain) == 1


async def test_before_the_first_turn_there_is_something_to_scrape(app: App) -> None:
    assert (await scraped(app)).total("aos_turns_total") == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [(known(TENANT, OWNER), 403), (known(TENANT, ADMIN, "Agents.Admin"), 200), ({}, 401)],
)
async def test_a_user_does_not_see_the_fleet(
    deployment: Deployment, headers: dict[str, str], status: int
) -> None:
    async with serving(deployment, **ACCESS, AUTH_MODE="entra") as app:
        answer = await app.caller.get("metrics/prometheus", headers=headers)
    assert answer.status_code == status
