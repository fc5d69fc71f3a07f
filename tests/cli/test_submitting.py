"""`aos jobs submit --file`: killed, interrupted and run again, each line is one job."""

import asyncio
import json
import os
import time
from pathlib import Path

import httpx
import pytest

from shared.state.owners import client_key_owner
from tests.support.served import Deployment, EmulatorControl
from tests.support.terminal import INTERRUPT, Aos

LINES = int(os.environ.get("SUBMITTED_LINES", "200"))
READ_BEFORE_KILL = 60 if LINES == 200 else LINES // 2
"""Receipts that are read before the command is killed. It is at most 150 lines ahead of them: those
on their way, and those that the terminal holds."""

NOT_YET = ("--not-before", "2100-01-01T00:00:00Z")
"""Jobs that do not run while others are submitted."""

SECONDS = 60 + LINES / 2


@pytest.fixture
def owner(key: str) -> str:
    return client_key_owner(key.split("_")[1])


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "jobs.txt"
    file.write_text("".join(f"Question {n}\n" for n in range(LINES)))
    return file


def receipts(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.timeout(SECONDS + 60)
async def test_killed_at_half_and_run_again_each_line_is_one_job(
    aos: Aos,
    owner: str,
    lines: Path,
    deployment: Deployment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    submit = ("jobs", "submit", "--file", str(lines), *NOT_YET)
    killed = await asyncio.to_thread(aos.start, *submit, "-o", "jsonl", columns=10_000)
    await asyncio.to_thread(killed.expect, f'"line": {READ_BEFORE_KILL},', SECONDS)
    killed.process.kill()
    await asyncio.to_thread(killed.process.join, 10)
    assert killed.process.exitcode == -9
    before = len(await deployment.rows(owner, kind="job:"))
    assert READ_BEFORE_KILL <= before < LINES

    started = time.monotonic()
    again = await asyncio.to_thread(aos.pipe, *submit, "-o", "jsonl", seconds=SECONDS)
    took = time.monotonic() - started
    assert again.code == 0, again.err
    submitted = receipts(again.out)
    assert [each["line"] for each in submitted] == list(range(1, LINES + 1))
    ids = {each["job_id"] for each in submitted}
    rows = await deployment.rows(owner, kind="job:")
    assert len(ids) == len(rows) == LINES
    replayed = sum(bool(each["again"]) for each in submitted)
    assert replayed >= before
    assert f"{LINES} lines: {LINES - replayed} submitted, {replayed} had been" in again.err
    with capsys.disabled():
        print(  # noqa: T201 (figures for the reader)
            f"\n{LINES} lines: killed after {before} jobs; run again, {LINES - replayed} more and "
            f"{replayed} replays in {took:.1f} s; {len(rows)} jobs, none twice"
        )


def test_lines_that_are_added_leave_the_others_their_jobs(aos: Aos, tmp_path: Path) -> None:
    file = tmp_path / "growing.txt"
    file.write_text("Same\nOther\nSame\n")
    submit = ("jobs", "submit", "--file", str(file))
    first = [each["job_id"] for each in receipts(aos.pipe(*submit, "-o", "jsonl").out)]
    assert len(set(first)) == 3
    file.write_text("New\nSame\nOther\nSame\nSame\n")
    longer = aos.pipe(*submit, "-o", "jsonl")
    assert "5 lines: 2 submitted, 3 had been submitted before" in longer.err
    assert [each["job_id"] for each in receipts(longer.out)][1:4] == first
    assert len(json.loads(aos.pipe("jobs", "ls").out)) == 5


async def test_an_interrupted_submission_says_how_to_go_on(aos: Aos, lines: Path) -> None:
    submit = ("jobs", "submit", "--file", str(lines), *NOT_YET)
    running = await asyncio.to_thread(aos.start, *submit, "-o", "jsonl", columns=10_000)
    await asyncio.to_thread(running.expect, '"line": 3,')
    running.type(INTERRUPT)
    stopped = await asyncio.to_thread(running.wait)
    assert stopped.code == 130
    assert f"of {LINES} lines" in stopped.plain
    assert "Run the same command again: no line is submitted twice" in stopped.plain


def test_a_file_is_submitted_awaited_read_and_submitted_anew(aos: Aos, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    bodies = [{"message": "A", "metadata": {"n": "1"}}, {"messages": ["B", "C"]}, "D", "D"]
    file.write_text("\n\n".join(map(json.dumps, bodies)))
    shown = aos.run("jobs", "submit", "--file", str(file), "--wait", columns=80)
    assert shown.code == 0
    assert "4 lines: 4 submitted" in shown.plain
    results = json.loads(aos.pipe("jobs", "results", "--file", str(file)).out)
    answers = ["You said: A", "You said: B\n\nYou said: C", "You said: D", "You said: D"]
    assert [each["content"] for each in results] == answers
    assert [each["line"] for each in results] == [1, 3, 5, 7]
    anew = aos.pipe("jobs", "submit", "--file", str(file), "--run", "second")
    assert "4 lines: 4 submitted" in anew.err


async def test_failed_jobs_of_a_file_are_tried_again_once(
    aos: Aos, tmp_path: Path, emulator: EmulatorControl, admin: httpx.AsyncClient
) -> None:
    file = tmp_path / "failing.txt"
    file.write_text("Only line\n")
    body = {"code": "invalid_prompt", "message": "No."}
    await emulator.inject("failed", times=None, body=body)
    submit = ("jobs", "submit", "--file", str(file), "--wait")
    failed = await asyncio.to_thread(aos.pipe, *submit)
    assert failed.code == 1
    await emulator.clear_faults()
    retry = ("jobs", "retry", "--file", str(file))
    (first,) = json.loads((await asyncio.to_thread(aos.pipe, *retry)).out)
    (second,) = json.loads((await asyncio.to_thread(aos.pipe, *retry)).out)
    assert first["job_id"] == second["job_id"]
    for columns in (120, 40):
        shown = await asyncio.to_thread(lambda: aos.run(*retry, columns=columns))  # noqa: B023
        assert (shown.code, first["job_id"] in shown.plain) == (0, True)
    assert (await asyncio.to_thread(aos.pipe, "jobs", "watch", first["job_id"])).code == 0
    results = json.loads((await asyncio.to_thread(aos.pipe, *retry[:1], "ls")).out)
    assert [each["status"] for each in results] == ["succeeded", "failed"]
    refused = await asyncio.to_thread(aos.pipe, "jobs", "retry", first["job_id"])
    assert refused.code == 1
    assert "is succeeded" in refused.err


def test_lines_that_are_refused_are_reported_and_the_others_submitted(
    aos: Aos, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"message": "Good"}\n{"bogus": 1}\n{"message": "Good too"}\n')
    result = aos.pipe("jobs", "submit", "--file", str(file), "-o", "jsonl")
    assert result.code == 1
    assert [each.get("code") for each in receipts(result.out)] == [None, "invalid_request", None]
    assert "1 lines were refused" in result.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"message": "ok"}\n{oops\n', "line 2 is not JSON"),
        (b"[1]\n", "line 1 is not a JSON object"),
        (b'"\xff"\n', "line 1 is not UTF-8"),
        (b'"' + b"x" * 1_200_000 + b'"', "line 1 is longer than"),
        (b"[" * 100_000 + b"\n", "line 1 is not"),
    ],
)
def test_a_file_with_a_line_that_is_no_job_is_not_begun(
    aos: Aos, tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_bytes(content)
    result = aos.pipe("jobs", "submit", "--file", str(file))
    assert (result.code, result.out) == (2, "")
    assert reason in result.err
    assert json.loads(aos.pipe("jobs", "ls").out) == []
