"""A child process with a log file and a readiness check, which always ends with its parent."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

READY_SECONDS = 60.0
STOP_SECONDS = 5.0
_PROBE_SECONDS = 1.0
_PROBE_PAUSE_SECONDS = 0.05
_TETHER = Path(__file__).with_name("tether.py")


class ServiceError(Exception):
    """A child ended or did not become ready; the message has the last lines of its log."""


class Child(Protocol):
    """A started process, which leads a process group of its own."""

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        ...

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs, negative after a signal."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises `subprocess.TimeoutExpired`."""
        ...


def spawn(command: "Command") -> Child:
    """Start a program; its output replaces its old log file."""
    with command.log_path.open("wb") as log:
        return subprocess.Popen(
            [*_tether(), *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=command.full_environment(),
            cwd=command.directory,
            process_group=0,
        )


@dataclass(frozen=True)
class Command:
    """A command, how it is started, and the check of its readiness."""

    name: str
    arguments: Sequence[str]
    log_path: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the environment of this process."""
    directory: Path | None = None
    spawn: "Callable[[Command], Child]" = spawn

    def full_environment(self) -> dict[str, str]:
        """Return the whole environment of the child."""
        return {**os.environ, **self.environment}


class Service:
    """One child in a process group of its own, so that only the launcher gets Ctrl-C.

    On Linux the child ends with the thread that started it, so start services from a thread that
    lives long enough.
    """

    def __init__(self, command: Command) -> None:
        self.name = command.name
        self.log_path = command.log_path
        self._command = command
        self._process: Child | None = None

    @property
    def pid(self) -> int:
        """The process id of the running child."""
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """None while the child runs; negative when a signal ended it."""
        return self._running().poll()

    def start(self) -> None:
        """Start the child; its output replaces its old log file."""
        self._command.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._process = self._command.spawn(self._command)

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once the child answers; raises ServiceError when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not self._command.is_ready():
            if self.exit_code is not None:
                raise ServiceError(self.exit_report())
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} is not ready after {seconds:.0f} s{self._tail()}")
            time.sleep(_PROBE_PAUSE_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the child, if it still runs."""
        if self._running().poll() is None:
            os.killpg(self._running().pid, number)

    def terminate(self) -> None:
        """Ask the child to end, without waiting for it."""
        if self._process:
            self.signal(signal.SIGTERM)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the child, if it was started, with SIGTERM and after `seconds` with SIGKILL."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process group of the child, which looks like a crash."""
        self.signal(signal.SIGKILL)
        self._running().wait()

    def restart(self) -> None:
        """Start the child again on the same ports and data, and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_until_ready()

    def exit_report(self) -> str:
        """Return how the child ended, with the last lines of its log."""
        code = self.exit_code
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"{self.name} ended unexpectedly ({how}){self._tail()}"

    def _tail(self, lines: int = 15) -> str:
        text = self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""
        tail = "".join(f"\n  {line}" for line in text.splitlines()[-lines:])
        return f". The end of {self.log_path}:{tail}" if tail else f"; {self.log_path} is empty."

    def _running(self) -> Child:
        if self._process is None:
            raise ServiceError(f"{self.name} was not started")
        return self._process


def answers_http(port: int, path: str) -> bool:
    """Whether a local server answers `path` with a status below 500."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def accepts_connections(port: int) -> bool:
    """Whether a local process listens on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), _PROBE_SECONDS):
            return True
    except OSError:
        return False


def is_free(port: int) -> bool:
    """Whether `port` is free to listen on."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


_given_ports: set[int] = set()
"""A port stays free until its service listens, so the system may offer it again."""


def free_port() -> int:
    """Return a port that is free now, and that this process has not returned before."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def _tether() -> list[str]:
    if sys.platform != "linux":
        return []
    # -I and -S make the start fast; the tether needs only the standard library.
    return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
