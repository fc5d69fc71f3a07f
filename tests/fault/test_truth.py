"""Counts are true: what Foundry reported stands in turn rows, and what stands there is summed up.

Turns of all kinds run on three instances, against a Foundry that fails in every way; callers
leave, jobs are cancelled, and one instance is killed in the midst of it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random, randrange
from typing import Any

import pytest

from shared.app import Services, Tables
from shared.config import AppSettings, FoundryAgentServiceConfig, SpendingSettings
from shared.foundry.errors import FoundryError
from shared.foundry.models import TurnRequest
from shared.jobs.queue import WakeUp
from shared.jobs.requests import SubmitJob
from shared.metering.counts import FLEET, Counts, Sums, View, add_to
from shared.metering.meter import Meter
from shared.metering.reading import MetricsReader
from shared.metering.roll_up import Rebuilder
from shared.metering.rows import ScopeView, scope_key, start_of_minute
from shared.state.errors import JobEndedError, LaneBusyError
from shared.state.keys import Kind, new_id, owner_of
from shared.state.table import Row
from shared.state.threads import Thread
from shared.state.turns import TurnMode, TurnRecord
from shared.turns.pipeline import TurnCommand
from tests.support.fakes import FakeClock, FakeQueues, FakeTable
from tests.support.mini_foundry import SignedInFoundry
from tests.support.unreliable_foundry import Line, UnreliableFoundry

TURNS = int(os.environ.get("TRUTH_TURNS", "400"))
SEED = int(os.environ.get("TRUTH_SEED", "0")) or randrange(10**6)  # noqa: S311
OWNERS = [f"tenant:owner-{number}" for number in range(20)]
IN_FLIGHT = 40
COUNTS = ("input_tokens", "output_tokens", "total_tokens")
PRICES = '{"models": {"llama-3.3-70b": {"input": 0.61, "output": 0.72, "cached": 0.3}}}'
PROJECT = "https://acme.services.ai.azure.com/api/projects/p"


@dataclass
class Fleet:
    """Three instances on one storage account and one Foundry."""

    random: Random
    state: FakeTable = field(default_factory=FakeTable)
    metrics: FakeTable = field(default_factory=FakeTable)
    queues: FakeQueues = field(default_factory=FakeQueues)
    clock: FakeClock = field(default_factory=FakeClock)
    living: dict[str, Services] = field(default_factory=dict[str, Services])
    jobs: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    died_with: set[str] = field(default_factory=set[str])
    """Messages that the killed instance was at work on."""
    at_work: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    uncounted: int = 0
    """Turns that the killed instance had committed since its last flush, a minute ago at most."""

    def __post_init__(self) -> None:
        self.foundry = UnreliableFoundry(self.random)
        config = FoundryAgentServiceConfig(endpoint_url=PROJECT, max_retries=2)
        settings = AppSettings(foundry=config, spending=SpendingSettings(prices=PRICES))
        for name in ("one", "two", "three"):
            self.at_work[name] = set()
            self.living[name] = Services.build(
                settings,
                tables=Tables(self.state, FakeTable(), self.metrics),
                queues=self.queues,
                foundry=SignedInFoundry(config, Line(self.foundry, name)),
                clock=self.clock,
            )

    async def turn(self, number: int) -> None:
        """One turn of a kind drawn by lot, on an instance drawn by lot."""
        name, services = self.random.choice(list(self.living.items()))
        owner, text = self.random.choice(OWNERS), f"message {number}"
        pairs = {"user_id": f"u-{number % 7}"}
        if number % 3:
            pairs["department"] = self.random.choice(["finance", "law"])
        kind = self.random.choice(["sync", "stream", "thread", "leave", "job", "job", "cancel"])
        request = TurnRequest(text, domain=self.random.choice(["general", "law"]), metadata=pairs)
        self.at_work[name].add(text)
        with suppress(FoundryError, LaneBusyError, asyncio.CancelledError):
            if kind in {"job", "cancel"}:
                await self._submit(services, owner, text, pairs, cancel=kind == "cancel")
            else:
                await self._send(services, TurnCommand(owner, request, 30), kind)
        if name in self.living:
            self.at_work[name].discard(text)

    async def _send(self, services: Services, command: TurnCommand, kind: str) -> None:
        if kind == "sync":
            await services.core.turns.run(command)
            return
        thread_id = new_id(Kind.THREAD)
        now = self.clock()
        await services.core.threads.add(Thread(thread_id, command.owner, now, now))
        fields: dict[str, Any] = {"thread_id": thread_id, "mode": TurnMode.STREAM}
        if kind == "thread":
            fields["mode"] = TurnMode.SYNC
        events = services.core.turns.stream(
            TurnCommand(command.owner, command.request, 30, **fields)
        )
        async for _ in events:
            if kind == "leave":
                break
        await events.aclose()
        await services.core.turns.aclose()

    async def _submit(
        self, services: Services, owner: str, text: str, pairs: dict[str, str], *, cancel: bool
    ) -> None:
        job = await services.core.submission.submit(owner, SubmitJob(message=text, metadata=pairs))
        self.jobs.append((owner, job.job_id))
        if cancel:
            with suppress(JobEndedError):
                await services.core.jobs.cancel(owner, job.job_id)

    async def work(self) -> None:
        """Run what waits in lanes, on any instance."""
        wake_ups, self.queues.wake_ups = self.queues.wake_ups, []
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def run(wake: WakeUp) -> None:
            async with slots:
                services = self.random.choice(list(self.living.values()))
                await services.workers.runner.drain(wake)

        await asyncio.gather(*(run(WakeUp(each.owner, each.lane)) for each in wake_ups))

    async def kill(self, name: str) -> None:
        """Kill an instance: nothing of it is committed or written any more."""
        services = self.living.pop(name)
        mine = services.core.meter.unwritten(ScopeView(FLEET, View.SERIES)).sums
        self.uncounted = sum(counts.requests for _, _, counts in mine)
        self.died_with = set(self.at_work[name])
        running = list(services.core.turns._background._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if services.core.meter._task:
            services.core.meter._task.cancel()
        await services.core.foundry.aclose()

    async def flush(self) -> None:
        for services in self.living.values():
            await services.core.meter.flush()

    def rows(self) -> list[tuple[str, Row]]:
        """All turn rows with their owners."""
        return [
            (owner_of(partition), row)
            for partition in self.state.partitions
            for row in self.state.rows(partition, "turn:")
        ]

    def counted_by_minute(self) -> Counter[datetime]:
        """The fleet's turns by minute, as instances wrote them."""
        counts: Counter[datetime] = Counter()
        for partition in [name for name in self.metrics.partitions if name.startswith(FLEET)]:
            for row in self.metrics.rows(partition, f"minute|{View.SERIES}|"):
                moment = f"{partition.removeprefix(FLEET + '!')}T{row.row_key.split('|')[2]}+00:00"
                counts[datetime.fromisoformat(moment)] += row.values["requests"]
        return counts

    async def counted(self, scope: str, view: View) -> Sums:
        """What metrics say of the day, to a process that counted nothing itself."""
        day = self.clock.now.date()
        reader = MetricsReader(self.metrics, Meter(self.metrics), self.clock)
        sums: Sums = {}
        for _, found in await reader.by_day(scope, view, day - timedelta(days=3), day):
            for key, counts in found.items():
                add_to(sums, key, counts)
        return sums

    async def aclose(self) -> None:
        for services in self.living.values():
            await services.aclose()


def by_rows(rows: list[tuple[str, Row]], scope: str, view: View) -> Sums:
    """What turn rows come to."""
    sums: Sums = {}
    for owner, row in rows:
        if scope in {FLEET, owner}:
            turn = TurnRecord.from_row(owner, row)
            sums.setdefault(view.key(turn), Counts()).add(turn)
    return sums


def comparable(sums: Sums) -> dict[tuple[str, ...], dict[str, object]]:
    return {key: {**counts.to_values()} for key, counts in sums.items()}


def total(sums: Sums, name: str) -> int:
    return sum(getattr(counts, name) for counts in sums.values())


async def mixed_turns(fleet: Fleet) -> None:
    """The story: a minute every so many turns, a flush each minute, a death half-way."""
    flying: set[asyncio.Task[None]] = set()
    per_minute = max(TURNS // 20, 20)
    for number in range(TURNS):
        while len(flying) >= IN_FLIGHT:
            _, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
        flying.add(asyncio.create_task(fleet.turn(number)))
        fleet.clock.advance(60 / per_minute)
        if number % per_minute == per_minute - 1:
            await fleet.flush()
            await fleet.work()
        if number == TURNS // 2 + per_minute // 2:
            await asyncio.sleep(0.01)
            await fleet.kill("two")
    await asyncio.gather(*flying)
    while fleet.queues.wake_ups:
        fleet.clock.advance(60)
        await fleet.work()
    for services in fleet.living.values():
        await services.core.turns.aclose()


@pytest.mark.timeout(600)
async def test_metrics_are_true_whatever_happens() -> None:
    print(f"TRUTH_SEED={SEED} TRUTH_TURNS={TURNS}")  # noqa: T201 - to repeat it
    fleet = Fleet(Random(SEED))  # noqa: S311
    await mixed_turns(fleet)
    for owner, job_id in fleet.jobs:
        job = await fleet.living["one"].core.jobs.get(owner, job_id)
        assert job.status.is_terminal

    rows = fleet.rows()
    in_rows: dict[str, dict[str, int]] = {}
    for _, row in rows:
        sums = in_rows.setdefault(row.values["question"], dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            sums[name] += row.values.get(name, 0)
    reported = {
        question: {name: sum(usage[name] for _, usage in told.values()) for name in COUNTS}
        for question, told in fleet.foundry.told.items()
    }
    differing = {
        question
        for question in in_rows | reported
        if in_rows.get(question, dict.fromkeys(COUNTS, 0))
        != reported.get(question, dict.fromkeys(COUNTS, 0))
    }
    assert differing <= fleet.died_with

    await fleet.flush()
    await fleet.living["one"].timers.roll_up.run()
    missing = Counter(start_of_minute(row.values["created_at"]) for _, row in rows)
    missing.subtract(fleet.counted_by_minute())
    gaps = {minute: count for minute, count in missing.items() if count}
    assert all(count > 0 for count in gaps.values())
    committing = fleet.uncounted + len(fleet.died_with)
    assert 0 < fleet.uncounted <= sum(gaps.values()) <= committing
    counted = await fleet.counted(FLEET, View.SERIES)
    assert total(counted, "requests") == len(rows) - sum(gaps.values())

    fleet.clock.advance(2 * 86_400)
    days = {row.values["created_at"].date() for _, row in rows}
    rebuilder = Rebuilder(fleet.state, fleet.metrics, fleet.clock)
    rebuilt = [await rebuilder.day(day, lambda _: None) for day in days]
    assert sum(rebuilt) == len(rows)
    for scope in (FLEET, *OWNERS):
        for view in (View.SERIES, View.USAGE):
            expected = comparable(by_rows(rows, scope, view))
            assert comparable(await fleet.counted(scope, view)) == expected, (scope, view)
            for day in days:
                await fleet.living["three"].timers.roll_up.whole_day(scope_key(scope), day)
            assert comparable(await fleet.counted(scope, view)) == expected, (scope, view)
    all_figures = await fleet.counted(FLEET, View.USAGE)
    for name in COUNTS:
        assert total(all_figures, name) == sum(row.values.get(name, 0) for _, row in rows)
    print(  # noqa: T201 - the numbers of the long run
        f"{len(rows)} turns, {total(all_figures, 'failed')} failed, "
        f"{total(all_figures, 'retries')} retries, "
        f"{total(all_figures, 'reconciliations')} looks, "
        f"{total(all_figures, 'unknown_usage')} of unknown usage, "
        f"{total(all_figures, 'total_tokens')} tokens; {fleet.uncounted} were uncounted, "
        f"{len(differing)} messages died with the instance"
    )
    await fleet.aclose()
