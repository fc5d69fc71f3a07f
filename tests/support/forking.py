"""Starts `python -m ...` in a fork of a process that has imported everything already.

Each app would spend two seconds of CPU on importing its libraries, and a run of all tests starts a
hundred. The tests of the launcher and of the host start real processes.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from local.processes import Command
from local.services import ROOT

IMPORTED = [
    *("local.host.server", "local.foundry.app", "local.model.scripted", "shared.routes"),
    *("typer.main", "rich.table", "rich.progress"),
]
"""What programs need; none of these starts a thread or reads the environment."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*IMPORTED, "tests.support.authorities"])


def spawn(command: Command) -> "Fork":
    """Start a program; its output replaces its old log file."""
    python, option, *arguments = command.arguments
    assert (python, option) == (sys.executable, "-m")
    log = command.log_path
    directory = command.directory or Path.cwd()
    return _start(_Program(arguments, command.full_environment(), directory, log, log))


def run(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    directory: Path = ROOT,
    seconds: float = 60,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        program = _Program([module, *arguments], environment, directory, out, err)
        code = _start(program).wait(seconds)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def call(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Call a function of a module in a fork."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def _start(program: "_Program") -> "Fork":
    for output in (program.out, program.err):
        output.write_bytes(b"")
    started, starting = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(program, starting))
    process.start()
    starting.close()
    with started:
        started.recv()
    return Fork(process, program.arguments[0])


@dataclass(frozen=True)
class Fork:
    """A child, as `subprocess.Popen` shows one."""

    process: ForkServerProcess
    module: str

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        assert self.process.pid
        return self.process.pid

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs, negative after a signal."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.module, timeout or 0)
        return code


@dataclass(frozen=True)
class _Program:
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    out: Path
    err: Path


def _run(program: _Program, starting: Connection) -> None:
    """Become the program: its process group, output, environment and arguments."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for descriptor, output in enumerate((program.out, program.err), start=1):
        opened = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(program.directory)
    os.environ.clear()
    os.environ.update(program.environment)
    module, *sys.argv[1:] = program.arguments
    starting.send(None)
    starting.close()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


def _end_with_parent() -> None:
    tests = multiprocessing.parent_process()
    assert tests
    tests.join()
    os.kill(os.getpid(), signal.SIGTERM)
