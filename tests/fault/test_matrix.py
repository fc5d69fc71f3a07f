"""Every trouble, as JSON and as a stream, on a thread, on a chain and alone."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import pytest

from shared.config import FoundryAgentServiceConfig
from tests.support.laboratory import JsonObject, Laboratory, Where

from .cells import Cell, Report
from .troubles import troubles
from .turning import ANSWER, Way

AT_ONCE = 48
MAX_ATTEMPTS = FoundryAgentServiceConfig().max_retries + 1


async def test_no_fault_duplicates_loses_or_shortens_a_turn(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        Cell(lab, trouble, way, where) for trouble in troubles() for way in Way for where in Where
    ]
    places = asyncio.Semaphore(AT_ONCE)

    async def run(cell: Cell) -> Report:
        async with places:
            return await cell.run()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(cell)) for cell in cells]
    reports = [task.result() for task in tasks]
    attempts = await _attempts(lab)
    looks = await _looks(lab)
    spared = {str(cell) for cell in cells if cell.is_spared}
    figures = {
        "cells": len(reports),
        "of them struck": len(reports) - len(spared),
        "answered": sum(report.got.error is None for report in reports),
        "typed errors": sum(report.got.error is not None for report in reports),
        "user messages duplicated": sum(report.duplicated for report in reports),
        "answers lost": sum(report.lost for report in reports),
        "cut streams reported as complete": sum(report.cut_as_complete for report in reports),
        "most attempts": max(attempts.values()),
    }
    with capsys.disabled():
        row = ", ".join(f"{name} {number}" for name, number in figures.items())
        sys.stdout.write(f"\nfault matrix: {row}\n")
    assert {r.cell for r in reports if not _was_felt(r, attempts, looks)} == spared
    wrong = [f"{report.cell}: {text}" for report in reports for text in report.wrong]
    assert not wrong, "\n".join(wrong)
    spoilt = [r.cell for r in reports if r.duplicated or r.lost or r.cut_as_complete]
    assert not spoilt
    marks = {report.mark["cell"]: report.cell for report in reports}
    assert not [marks.get(mark) for mark, made in attempts.items() if made > MAX_ATTEMPTS]


def _was_felt(report: Report, attempts: Counter[str], looks: set[str]) -> bool:
    """Whether the trouble really came: it spoilt the turn, or the client had to do more."""
    if report.got.outcome != ANSWER or attempts[report.mark["cell"]] > 1:
        return True
    found = {report.got.result.response_id} if report.got.result else set[str]()
    if report.thread and report.thread.conversation_id:
        found.add(report.thread.conversation_id)
    return bool(found & looks)


async def _looks(lab: Laboratory) -> set[str]:
    """The conversations and responses that the client looked at; the test's own looks left out."""
    entries = [*await lab.requests("items.list"), *await lab.requests("responses.get")]
    ours = [entry for entry in entries if entry["client_request_id"]]
    return {entry["conversation"] or entry["path"].rpartition("/")[2] for entry in ours}


async def _attempts(lab: Laboratory) -> Counter[str]:
    """How often each cell's turn was sent, as the emulator saw it."""
    found: Counter[str] = Counter()
    for entry in await lab.requests("responses.create"):
        body: JsonObject = entry["body"] or {}
        if mark := body.get("metadata"):
            found[mark["cell"]] += 1
    return found
