"""Any order of submits, turns, deliveries, sweeps, cancels, deaths and delays, step by step.

Whatever the order: no write of a worker that lost its lease is accepted, every accepted job ends,
and every conversation holds each message once and in order.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from datetime import datetime
from enum import StrEnum
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from shared.config import AppSettings, FoundryAgentServiceConfig
from shared.foundry.models import TurnRequest
from shared.jobs.requests import SubmitJob
from shared.state.errors import StateError
from shared.state.keys import Kind, new_id, newest_first
from shared.state.lanes import LEASE_SECONDS, Lanes
from shared.state.threads import Thread, Threads
from shared.turns.pipeline import TurnCommand
from tests.support.fakes import FakeClock, FakeTable
from tests.support.guarded_table import GuardedTable
from tests.support.mini_foundry import MiniFoundry
from tests.support.stepwise import Outside, Process
from tests.support.world import OWNER, PROJECT, Delivery, MemoryQueues

EXAMPLES = int(os.environ.get("LANE_MACHINE_EXAMPLES", "50"))
SEED = int(os.environ.get("TORTURE_SEED") or random.randrange(2**32))  # noqa: S311
SHRINK = bool(os.environ.get("LANE_MACHINE_SHRINK"))
"""Look for a shorter story of a failure, which takes minutes."""

PROCESSES = 2
THREADS = 2
STEPS = 50
SWEEPS = 4

processes = st.integers(0, PROCESSES - 1)
threads = st.integers(0, THREADS - 1)


class Pace(StrEnum):
    """How far a process gets before something else happens."""

    NOT_YET = "not yet"
    UNTIL_SENT = "until sent"
    TO_THE_END = "to the end"


paces = st.sampled_from(Pace)


class LaneMachine(RuleBasedStateMachine):
    """Processes on a shared table and queue, under a clock of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._clock = FakeClock()
        self._table = GuardedTable()
        self._queues = MemoryQueues(self._clock)
        self._foundry = MiniFoundry()
        self._threads: list[str] = []
        self._accepted: list[str] = []
        self._messages: dict[str, list[str]] = {}
        self._told = 0

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        config = FoundryAgentServiceConfig(endpoint_url=PROJECT, max_retries=0)
        self._outside = Outside(
            AppSettings(foundry=config),
            self._table,
            FakeTable(),
            self._queues,
            self._foundry,
            self._clock,
            self._holds,
        )
        threads = Threads(self._table, Lanes(self._table, self._clock), self._clock)
        for _ in range(THREADS):
            now = self._clock()
            thread = Thread(new_id(Kind.THREAD), OWNER, now, now)
            self._run(threads.add(thread))
            self._threads.append(thread.thread_id)
        self._processes = [self._start() for _ in range(PROCESSES)]

    def _start(self) -> Process:
        async def start() -> Process:
            return Process(self._outside)

        return self._run(start())

    def _holds(self, holder: str) -> bool:
        """Whether a turn's lease is in force."""
        return any(
            row.values.get("lease_holder") == holder and row.values["lease_until"] > self._clock()
            for row in self._table.rows(OWNER)
        )

    def _step(self, process: int, choice: int = 0) -> None:
        self._run(self._processes[process].step(choice))
        if self._processes[process].is_dead:
            self.crash(process)

    def _begin(self, process: int, work: Coroutine[Any, Any, Any], pace: Pace) -> None:
        async def begin() -> None:
            self._processes[process].begin(work)
            await asyncio.sleep(0)

        self._run(begin())
        self.go_on(process, pace)

    @rule(process=processes, thread=st.none() | threads, messages=st.integers(1, 2), pace=paces)
    def submit(self, process: int, thread: int | None, messages: int, pace: Pace) -> None:
        job_id = new_id(Kind.JOB)
        texts = [f"{len(self._messages)}.{number}" for number in range(messages)]
        self._messages[job_id] = texts
        body = SubmitJob(
            messages=texts, thread_id=None if thread is None else self._threads[thread]
        )
        if thread is None:
            self._messages[job_id] = texts[:1]
            body = SubmitJob(message=texts[0])
        services = self._processes[process].services

        async def put() -> None:
            await services.core.submission.submit(OWNER, body, job_id)
            self._accepted.append(job_id)

        self._begin(process, put(), pace)

    @rule(process=processes, thread=threads, pace=paces)
    def say(self, process: int, thread: int, pace: Pace) -> None:
        """A caller sends a message and does not ask again."""
        self._told += 1
        command = TurnCommand(OWNER, TurnRequest(f"told {self._told}"), 60, self._threads[thread])
        services = self._processes[process].services

        async def send() -> None:
            try:
                await services.core.turns.run(command)
            except StateError:
                return

        self._begin(process, send(), pace)

    @rule(process=processes, choice=st.integers(0, 5), pace=paces)
    def deliver(self, process: int, choice: int, pace: Pace) -> None:
        """A worker gets a wake-up; dies it, the message is not seen again."""
        visible = self._visible()
        if not visible:
            return
        delivery = visible[choice % len(visible)]
        self._queues.waiting.remove(delivery)
        runner = self._processes[process].services.workers.runner
        self._begin(process, runner.receive(delivery.body), pace)

    def _visible(self) -> list[Delivery]:
        now: datetime = self._clock()
        return [waiting for waiting in self._queues.waiting if waiting.visible_at <= now]

    @rule(process=processes, choice=st.integers(0, 20), pace=paces)
    def cancel(self, process: int, choice: int, pace: Pace) -> None:
        if not self._accepted:
            return
        job_id = self._accepted[choice % len(self._accepted)]
        jobs = self._processes[process].services.core.jobs

        async def ask() -> None:
            try:
                await jobs.cancel(OWNER, job_id)
            except StateError:
                return

        self._begin(process, ask(), pace)

    @rule(process=processes, pace=paces)
    def sweep(self, process: int, pace: Pace) -> None:
        self._begin(process, self._processes[process].services.timers.sweeper.sweep(), pace)

    @rule(process=processes, choices=st.lists(st.integers(0, 7), min_size=1, max_size=8))
    def step(self, process: int, choices: list[int]) -> None:
        for choice in choices:
            self._step(process, choice)

    @rule(process=processes, pace=paces)
    def go_on(self, process: int, pace: Pace) -> None:
        """Let a process go on to its end, or to where a message is sent and nothing committed."""
        before = self._foundry.answers
        while pace is not Pace.NOT_YET and not self._processes[process].is_idle:
            if pace is Pace.UNTIL_SENT and self._foundry.answers > before:
                return
            self._step(process)

    @rule(process=processes)
    def crash(self, process: int) -> None:
        self._run(self._processes[process].crash())
        self._processes[process] = self._start()

    @rule(seconds=st.sampled_from([1, 20, 61]))
    def wait(self, seconds: int) -> None:
        self._clock.advance(seconds)

    def teardown(self) -> None:
        """Once nobody dies any more, everything comes to its end."""
        try:
            for number in range(PROCESSES):
                self.go_on(number, Pace.TO_THE_END)
            for _ in range(SWEEPS):
                self._work()
                self._clock.advance(LEASE_SECONDS + 1)
                self._begin(0, self._processes[0].services.timers.sweeper.sweep(), Pace.TO_THE_END)
            self._work()
            self._check()
        finally:
            for process in self._processes:
                self._run(process.crash())
            self._loop.close()

    def _work(self) -> None:
        while delivery := self._queues.take():
            self._queues.waiting.remove(delivery)
            runner = self._processes[0].services.workers.runner
            self._begin(0, runner.receive(delivery.body), Pace.TO_THE_END)

    def _check(self) -> None:
        rows = self._table.partitions[OWNER]
        jobs = {job_id: rows.get(newest_first(job_id)) for job_id in self._messages}
        stored = {job_id: row.values for job_id, row in jobs.items() if row is not None}
        assert set(self._accepted) <= set(stored), "lost"
        unended = {key: job["status"] for key, job in stored.items()}
        assert set(unended.values()) <= {"succeeded", "cancelled"}, unended
        assert not self._table.rows(OWNER, "box:")
        for thread_id in self._threads:
            self._check_thread(thread_id, stored)

    def _check_thread(self, thread_id: str, jobs: dict[str, Any]) -> None:
        conversation_id = self._table.partitions[OWNER][newest_first(thread_id)].values.get(
            "conversation_id"
        )
        said = self._foundry.said(conversation_id) if conversation_id else []
        assert len(said) == len(set(said)), f"repeated: {said}"
        own = [key for key, job in jobs.items() if job.get("thread_id") == thread_id]
        own.sort(key=lambda key: jobs[key]["sequence"])
        order = [text for key in own for text in self._messages[key]]
        by_jobs = [text for text in said if text in order]
        assert by_jobs == sorted(by_jobs, key=order.index), f"out of order: {said}"
        for key in own:
            done = self._messages[key][: jobs[key]["messages_done"]]
            assert set(done) <= set(said), f"lost: {done}"


def test_lanes_in_any_order_of_events() -> None:
    print(f"lane machine: seed {SEED}, {EXAMPLES} examples")  # noqa: T201 - shown on failure
    run_state_machine_as_test(
        seed(SEED)(LaneMachine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
