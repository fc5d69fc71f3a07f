"""`aos` as a user has it: on a pseudo-terminal or with its output in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from . import forking

SECONDS = 30.0
ROWS = 24
END_OF_INPUT = "\x04"
INTERRUPT = "\x03"

_STYLE = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str = ""

    @property
    def plain(self) -> str:
        """The output without colours and movements of the cursor."""
        return _STYLE.sub("", self.out)


@dataclass
class Terminal:
    """A command that runs on a pseudo-terminal; all its output is in ``raw``."""

    master: int
    process: ForkServerProcess
    raw: bytes = field(default=b"", init=False)

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = SECONDS) -> str:
        """Read until a text is on the screen; returns everything so far."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            if not self._read():
                assert text in self.text, f"ended without {text!r}: {self.text!r}"
        return self.text

    def wait(self, seconds: float = SECONDS) -> Result:
        """Read to the end."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"still runs: {self.text!r}"
        self.process.join(max(deadline - time.monotonic(), 1))
        assert self.process.exitcode is not None, self.text
        os.close(self.master)
        return Result(self.process.exitcode, self.text)

    def _read(self) -> bool:
        """Read what comes within a moment; returns whether the command may print more."""
        if not select.select([self.master], [], [], 0.2)[0]:
            return self.process.is_alive()
        try:
            chunk = os.read(self.master, 65_536)
        except OSError:  # the other end is closed
            return False
        self.raw += chunk
        return bool(chunk)


@dataclass(frozen=True)
class Aos:
    """Starts `aos` with an environment of its own."""

    folder: Path
    url: str
    more: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}
        terminal = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        return {"PATH": os.environ["PATH"], **home, **terminal, "AOS_URL": self.url, **self.more}

    def start(self, *arguments: str, columns: int = 100) -> Terminal:
        """Start a command on a terminal."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        process = forking.call(_on_terminal, os.ttyname(slave), arguments, self.environment)
        terminal = Terminal(master, process)
        terminal.expect(_READY)
        terminal.raw = b""
        os.close(slave)
        os.write(master, b"\n")
        return terminal

    def run(self, *arguments: str, columns: int = 100) -> Result:
        """Run a command on a terminal to its end."""
        return self.start(*arguments, columns=columns).wait()

    def pipe(self, *arguments: str, given: bytes = b"", seconds: float = SECONDS) -> Result:
        """Run a command whose input is a file and whose output is no terminal."""
        out, err, source = (self.folder / f"{name}-{time.monotonic_ns()}" for name in "oei")
        source.write_bytes(given)
        process = forking.call(_on_files, (source, out, err), arguments, self.environment)
        process.join(seconds)
        assert process.exitcode is not None, err.read_text()
        return Result(process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


_READY = "\N{INVISIBLE SEPARATOR}ready"
"""What a command on a terminal prints first, so that nothing is read of a terminal not yet its."""


def _on_terminal(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.setsid()
    terminal = os.open(name, os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    os.write(1, _READY.encode())
    os.read(0, 1)
    _become(arguments, environment)


def _on_files(
    files: tuple[Path, Path, Path], arguments: Sequence[str], environment: Mapping[str, str]
) -> None:
    for descriptor, path in enumerate(files):
        flags = os.O_WRONLY | os.O_CREAT if descriptor else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o600), descriptor)
    _become(arguments, environment)


def _become(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run the command as the interpreter would, on new standard streams."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(environment["HOME"])
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        is_line_buffered = descriptor == 2 or os.isatty(descriptor)
        stream = open(  # noqa: SIM115
            descriptor,
            "w",
            encoding="utf-8",
            buffering=1 if is_line_buffered else -1,
            closefd=False,
        )
        setattr(sys, name, stream)
    sys.argv = ["aos", *arguments]
    from cli.main import main

    code = main()
    sys.stdout.flush()
    sys.exit(code)
