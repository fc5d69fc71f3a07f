"""What metrics and budgets cost: time in a turn, and storage transactions a minute.

`python -m bench.metering` runs turns in this process, on tables in memory, against a Foundry that
answers at once: one after the other, in turn with metrics and without, so that both see the same
machine. Transactions are those of one instance with 1,000 turns a minute of 50 owners.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from shared.app import Services, Tables
from shared.config import AppSettings, FoundryAgentServiceConfig
from shared.config.spending import read_budgets
from shared.foundry.models import TurnRequest
from shared.foundry.service import FoundryService
from shared.metering.budgets.budgets import RENEW_SECONDS, Budgets
from shared.metering.budgets.limits import Amount
from shared.metering.meter import Meter
from shared.state.turns import Attribution, TurnEffort, TurnMode, TurnRecord, TurnStatus
from shared.turns.pipeline import TurnCommand
from tests.support.fakes import FakeClock, FakeQueues, FakeTable
from tests.support.scripted_foundry import ScriptedFoundry

TURNS = 6_000
WARM_UP_TURNS = 500
CLEAR_EVERY = 100
"""Tables in memory get slower as they grow."""

MINUTES = 10
TURNS_PER_MINUTE = 1_000
OWNERS = 50
BUDGETS = """[{"owner": "*", "tokens": 10000000, "per": "day"},
              {"owner": "*", "requests": 600, "per": "minute"}]"""


class NoMeter(Meter):
    """Counts nothing."""

    def record(self, turn: TurnRecord) -> None:
        pass

    @contextmanager
    def running(self, owner: str) -> Generator[None]:
        yield


class App:
    """The parts of the app, with metrics or without."""

    def __init__(self, *, metrics: bool) -> None:
        config = FoundryAgentServiceConfig(
            endpoint_url="https://a.services.ai.azure.com/openai/v1", api_key="key"
        )
        self.foundry, self.tables = ScriptedFoundry(), [FakeTable() for _ in range(3)]
        self.services = Services.build(
            AppSettings(foundry=config),
            tables=Tables(*self.tables),
            queues=FakeQueues(),
            foundry=FoundryService(config, http=self.foundry.transport),
            clock=lambda: datetime.now(UTC),
        )
        if not metrics:
            turns: Any = self.services.core.turns
            turns._meter = NoMeter(FakeTable())  # noqa: SLF001 - the comparison
        self.owners = random.Random(1)  # noqa: S311 - keeps no secret

    async def turn(self) -> float:
        """Seconds that a turn took."""
        owner = f"tenant:owner-{self.owners.randrange(OWNERS)}"
        request = TurnRequest("Hi", metadata={"department": "finance"})
        started = perf_counter()
        await self.services.core.turns.run(TurnCommand(owner, request, 60))
        return perf_counter() - started

    def clear(self) -> None:
        """Forget what was kept, so that later turns are like earlier ones."""
        for table in self.tables:
            table.partitions.clear()
        self.foundry.calls.clear()
        self.foundry.responses.clear()


def percentile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(values)[int(len(values) * share)] * 1000


async def compare_time() -> bool:
    """Print what metrics add to a turn; whether that is as little as promised."""
    apps = {"with metrics": App(metrics=True), "without": App(metrics=False)}
    times: dict[str, list[float]] = {name: [] for name in apps}
    for number in range(WARM_UP_TURNS + TURNS):
        for name, app in apps.items():
            seconds = await app.turn()
            if number >= WARM_UP_TURNS:
                times[name].append(seconds)
            if number % CLEAR_EVERY == 0:
                app.clear()
    for name, values in times.items():
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        print(f"turn {name:14} p50 {p50:7.3f} ms  p99 {p99:7.3f} ms  of {len(values)}")
    with_metrics, without = times.values()
    added = [percentile(with_metrics, share) - percentile(without, share) for share in (0.5, 0.99)]
    print(f"added by metrics    p50 {added[0]:7.3f} ms  p99 {added[1]:7.3f} ms")
    for app in apps.values():
        await app.services.aclose()
    return added[0] < 0.3


def some_turn(chance: random.Random, at: datetime) -> TurnRecord:
    """A turn as a busy fleet has them."""
    return TurnRecord(
        turn_id="turn_01K00000000000000000000000",
        owner=f"tenant:owner-{chance.randrange(OWNERS)}",
        thread_id=None,
        job_id=None,
        mode=chance.choice(list(TurnMode)),
        status=TurnStatus.SUCCEEDED,
        created_at=at,
        latency=chance.lognormvariate(0, 1),
        domain=chance.choice(["general", "law"]),
        model=chance.choice(["a", "b"]),
        usage={"input_tokens": 300, "output_tokens": 200, "total_tokens": 500},
        effort=TurnEffort(overhead=0.002, cost=500_000),
        attribution=Attribution(chance.choice(["finance", "law"]), f"u-{chance.randrange(500)}"),
    )


async def count_transactions() -> None:
    """Print what one instance asks of storage in a minute."""
    chance, clock, table = random.Random(1), FakeClock(), FakeTable()  # noqa: S311
    meter, seconds = Meter(table), list[float]()
    counts: list[int] = []
    for _ in range(MINUTES):
        for _ in range(TURNS_PER_MINUTE):
            clock.advance(60 / TURNS_PER_MINUTE)
            turn = replace(some_turn(chance, clock()), created_at=clock())
            started = perf_counter()
            meter.record(turn)
            seconds.append(perf_counter() - started)
        table.reset_counts()
        await meter.flush()
        counts.append(table.transactions)
    await meter.aclose()
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    print(f"counting a turn     p50 {p50:7.3f} ms  p99 {p99:7.3f} ms")
    print(f"metrics: {max(counts[1:])} transactions a minute; in the first of a day {counts[0]}")


async def count_for_budgets() -> None:
    """Print what two budgets for each owner ask of storage in a minute."""
    chance, clock, table = random.Random(1), FakeClock(), FakeTable()  # noqa: S311
    budgets = Budgets(read_budgets(BUDGETS), table, clock)
    renewed = clock()
    counts: list[int] = []
    for _ in range(MINUTES):
        table.reset_counts()
        for _ in range(TURNS_PER_MINUTE):
            clock.advance(60 / TURNS_PER_MINUTE)
            owner = f"tenant:owner-{chance.randrange(OWNERS)}"
            async with await budgets.reserve(owner, None, Amount(4_500, 0, 1)) as hold:
                hold.spend(Amount(500, 0, 1))
            if clock() - renewed >= timedelta(seconds=RENEW_SECONDS):
                renewed = clock()
                await budgets.renew()
        counts.append(table.transactions)
    await budgets.aclose()
    each = max(counts[1:]) / TURNS_PER_MINUTE
    print(f"two budgets each: {max(counts[1:])} transactions a minute, {each:.2f} a turn")


async def measure() -> bool:
    """Run all rows."""
    promised = await compare_time()
    await count_transactions()
    await count_for_budgets()
    return promised


def main() -> int:
    """Run the benchmark."""
    return 0 if asyncio.run(measure()) else 1


if __name__ == "__main__":
    sys.exit(main())
