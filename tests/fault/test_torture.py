"""A short run of what `make torture` does for long."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.state.keys import Kind, new_id, newest_first
from shared.state.threads import Thread
from tests.torture.audit import Audit, Findings
from tests.torture.plan import Lane, Options, PlannedJob
from tests.torture.run import torture

SHORT = Options(
    jobs=100,
    lanes=12,
    workers=3,
    kills=3,
    kills_until=0.5,
    fault_rate=0.06,
    intake_share=0.0,
    lease=3,
    deadline=300,
)
"""The kills come early, because each lets a lease run out. Nothing comes in on the public queue:
what a killed worker held of that is shown again after ten minutes, as in Azure."""


@pytest.mark.timeout(420)
def test_nothing_is_lost_or_repeated_while_workers_are_killed(tmp_path: Path) -> None:
    report = torture(SHORT, tmp_path)
    print(report)  # noqa: T201 - shown on failure
    assert report.passed, report
    assert report.killed == SHORT.kills


class DamagedRun:
    """What a run of one lane left behind: jobs `a`, `b` and `c`, each with one message."""

    def __init__(self) -> None:
        now = datetime(2026, 3, 1, tzinfo=UTC)
        self.lane = Lane("owner", Thread(new_id(Kind.THREAD), "owner", now, now), by_intake=False)
        self.lane.jobs = [PlannedJob(new_id(Kind.JOB), [text]) for text in "abc"]
        self.said = ["a", "b", "c"]
        self.job_rows: list[dict[str, Any]] = [
            {"RowKey": newest_first(job.job_id), "status": "succeeded", "sequence": number}
            for number, job in enumerate(self.lane.jobs, 1)
        ]

    async def rows(self, _: str, kind: str) -> list[dict[str, Any]]:
        turns = [{"question": text, "status": "succeeded"} for text in "abc"]
        threads = [{"conversation_id": "conv_1"}]
        return {"job": self.job_rows, "turn": turns, "thread": threads}[kind]

    async def findings(self) -> Findings:
        return await Audit(self.rows).inspect([self.lane], {"conv_1": self.said})


async def test_the_audit_finds_nothing_where_nothing_is_wrong() -> None:
    assert await DamagedRun().findings() == Findings()


async def test_the_audit_finds_what_was_lost() -> None:
    run = DamagedRun()
    run.said.remove("b")
    run.job_rows.pop(2)
    assert await run.findings() == Findings(lost=2)


async def test_the_audit_finds_what_stands_twice() -> None:
    run = DamagedRun()
    run.said.append("c")
    assert await run.findings() == Findings(duplicated=1)


async def test_the_audit_finds_what_is_out_of_order() -> None:
    run = DamagedRun()
    run.said = ["b", "a", "c"]
    assert await run.findings() == Findings(out_of_order=1)


async def test_the_audit_finds_what_has_not_ended() -> None:
    run = DamagedRun()
    run.job_rows[2]["status"] = "running"
    assert await run.findings() == Findings(not_terminal=1)
