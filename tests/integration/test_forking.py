"""Programs that tests fork live and die as those that are started do."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from local import processes
from local.processes import Command, Service, ServiceError
from local.services import ROOT, foundry_emulator
from tests.support import forking
from tests.support.waiting import eventually

from .test_launcher import is_alive

LAUNCHER = """
import sys, time
from pathlib import Path
from local import processes
from local.processes import Command
from tests.support import forking

command = Command("test", [sys.executable, "-m", "timeit", "-s", "import time", "time.sleep(60)"],
                  Path(sys.argv[1]), lambda: True)
print(forking.spawn(command).pid, flush=True)
time.sleep(60)
"""


def test_a_fork_has_its_own_process_group_and_a_killed_one_says_so(tmp_path: Path) -> None:
    with foundry_emulator(tmp_path, spawn=forking.spawn) as emulator:
        assert os.getpgid(emulator.pid) == emulator.pid
        assert os.getsid(emulator.pid) == os.getsid(0)
        emulator.kill()
        assert emulator.exit_code == -signal.SIGKILL


def test_a_fork_that_fails_shows_its_exit_code_and_the_end_of_its_log(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "local.foundry", "--port", "none"]
    reports: list[str] = []
    for spawn in (processes.spawn, forking.spawn):
        command = Command("Emulator", arguments, tmp_path / "log", lambda: False, spawn=spawn)
        child = Service(command)
        child.start()
        with pytest.raises(ServiceError, match="exit code 2") as ended:
            child.wait_until_ready()
        reports.append(str(ended.value))
    assert "invalid int value: 'none'" in reports[0]
    assert reports[0] == reports[1]


async def test_a_fork_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, str(tmp_path / "log")), cwd=ROOT, stdout=PIPE
    )
    assert launcher.stdout
    pid = int(await launcher.stdout.readline())
    assert is_alive(pid)
    launcher.kill()
    await launcher.wait()
    await eventually(lambda: not is_alive(pid))
