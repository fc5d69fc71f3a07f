"""The page of the command line is what the commands say; `aos --help` imports next to nothing."""

import re
import shlex
import subprocess
import sys
import time

import pytest

from cli.errors import ExitCode
from cli.main import SECTIONS
from cli.problems import ADVICE, exit_code_of
from cli.reference import COLUMNS, page
from local.services import ROOT
from shared.problems import ProblemKind

PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
HEAVY = ("typer", "rich", "httpx", "shared", "azure", "asyncio")
RUNS = 5


def test_the_page_is_written_by_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", COLUMNS)
    assert page() == PAGE, "run: make commands"


def test_advice_is_about_problems_that_exist_and_commands_that_exist() -> None:
    assert ADVICE.keys() <= {kind.code for kind in ProblemKind}
    named = [name for text in ADVICE.values() for name in re.findall(r"\baos (\w+)", text)]
    assert set(named) <= SECTIONS.keys()


def test_every_problem_has_the_exit_code_of_its_kind() -> None:
    codes = {kind: exit_code_of(kind.status, kind.code) for kind in ProblemKind}
    again = {kind.name for kind, code in codes.items() if code is ExitCode.TRY_AGAIN}
    assert again == {
        *("BODY_TIMEOUT", "THREAD_BUSY", "IDEMPOTENCY_IN_PROGRESS", "LEASE_LOST"),
        *("BUDGET_RESERVED", "OWNER_LIMIT", "RATE_LIMITED", "CIRCUIT_OPEN", "NOT_READY"),
        *("SERVICE_UNAVAILABLE", "STREAM_INTERRUPTED", "STORAGE_UNAVAILABLE"),
        *("STORAGE_CONTENTION", "FOUNDRY_ERROR", "TIMEOUT"),
    }
    assert codes[ProblemKind.UNAUTHORIZED] is ExitCode.NOT_SIGNED_IN
    missing = {kind.status for kind, code in codes.items() if code is ExitCode.NOT_FOUND}
    assert missing == {404}


def test_help_imports_no_library() -> None:
    code = f"""
import sys
from cli.main import main
assert main(["--help"]) == 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_the_time_of_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    nothing, help_ = (_fastest(shlex.split(words)) for words in ("-c pass", "-m cli --help"))
    with capsys.disabled():
        print(f"\naos --help: {help_ * 1000:.0f} ms, {help_ / nothing:.1f} times `python -c pass`")  # noqa: T201


def _fastest(arguments: list[str]) -> float:
    times: list[float] = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)  # noqa: S603
        times.append(time.perf_counter() - started)
    return min(times)
