"""Every trouble, as JSON and as a stream, on a thread, on a chain and alone."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import pytest

from shared.config import FoundryAgentServiceConfig

from .cells import Cell, Report
from .laboratory import JsonObject, Laboratory, Where
from .troubles import troubles
from .turning import Way

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

    reports = await asyncio.gather(*map(run, cells))
    attempts = await _attempts(lab)
    figures = {
        "cells": len(reports),
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
    wrong = [f"{report.cell}: {text}" for report in reports for text in report.wrong]
    assert not wrong, "\n".join(wrong)
    spoilt = [r.cell for r in reports if r.duplicated or r.lost or r.cut_as_complete]
    assert not spoilt
    marks = {report.mark["cell"]: report.cell for report in reports}
    assert not [marks.get(mark) for mark, made in attempts.items() if made > MAX_ATTEMPTS]


async def _attempts(lab: Laboratory) -> Counter[str]:
    """How often each cell's turn was sent, as the emulator saw it."""
    found: Counter[str] = Counter()
    for entry in await lab.requests("responses.create"):
        body: JsonObject = entry["body"] or {}
        if mark := body.get("metadata"):
            found[mark["cell"]] += 1
    return found
