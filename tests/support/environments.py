"""Environments with the packages that Azure installs, made once and kept between runs.

They stand outside the checkout, named by what they are made of, so that a fresh clone on the same
machine finds them, and tests in several processes wait for the one that makes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.node import Node, find_node
from local.services import ROOT

DEPLOYED_VERSION = "3.13"
REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
RUN_SECONDS = 240
INSTALL_SECONDS = 900
"""Many times what it takes on a machine with nothing else to do."""


def cache_folder() -> Path:
    """Where what is expensive to make is kept; removing it costs only time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "agent-operating-system"


def find_python() -> Path | None:
    """The deployed version of Python on PATH or among pyenv's versions, or None."""
    on_path = shutil.which(f"python{DEPLOYED_VERSION}")
    candidates = [Path(on_path)] if on_path else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    versions = f"versions/{DEPLOYED_VERSION}*/bin/python{DEPLOYED_VERSION}"
    candidates += sorted(pyenv.glob(versions), reverse=True)
    # one that does not run is pyenv's placeholder for a version that is not chosen
    return next((python for python in candidates if run(python, "-c", "").returncode == 0), None)


def with_requirements(python: Path) -> Path:
    """The Python of an environment that has `requirements.txt` and nothing else."""
    return _environment(python, "--no-deps", "-r", REQUIREMENTS)


def with_packages(python: Path, listed: Path) -> Path:
    """The Python of an environment that has the packages of a file, as pinned for the tests."""
    return _environment(python, "-r", listed, "-c", TEST_REQUIREMENTS)


def _environment(python: Path, *wanted: str | Path) -> Path:
    """The Python of an environment with what pip installs for ``wanted``."""
    texts = [each.read_bytes() if isinstance(each, Path) else each.encode() for each in wanted]
    version = run(python, "-VV").stdout.encode()
    made_of = hashlib.sha256(b"".join([*texts, version])).hexdigest()[:12]
    environment = cache_folder() / f"environment-{made_of}"
    own = environment / "bin" / "python"
    complete = environment / "complete"
    with only_one(environment.with_suffix(".lock")):
        if not complete.exists():
            run(python, "-m", "venv", "--clear", environment).check_returncode()
            pip = (own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            installed = run(*pip, *wanted, seconds=INSTALL_SECONDS)
            assert installed.returncode == 0, installed.stderr
            complete.touch()
    return own


API_TOOLS = ROOT / "tests/support/api_tools"
"""The tools that read the API document: a validator, a linter, a fuzzer, generators of clients."""


def api_tools() -> Path:
    """The folder of programs of an environment with the API tools that are Python packages."""
    return python_packages("api-tools", API_TOOLS / "requirements.txt")


def python_packages(name: str, requirements: Path) -> Path:
    """The folder of programs of an environment with pinned packages."""
    made_of = requirements.read_bytes() + sys.version.encode()
    environment = cache_folder() / f"{name}-{hashlib.sha256(made_of).hexdigest()[:12]}"
    with only_one(environment.with_suffix(".lock")):
        if not (environment / "complete").exists():
            run(sys.executable, "-m", "venv", "--clear", environment).check_returncode()
            pip = (environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps")
            installed = run(*pip, "-r", requirements, seconds=INSTALL_SECONDS)
            assert installed.returncode == 0, installed.stderr
            (environment / "complete").touch()
    return environment / "bin"


@dataclass(frozen=True)
class NodePackages:
    """Installed npm packages, and the Node.js that runs them."""

    node: str
    folder: Path

    def command(self, package: str, name: str) -> tuple[str, str]:
        """The command that runs a program of a package."""
        manifest = json.loads((self.folder / "node_modules" / package / "package.json").read_text())
        programs: dict[str, str] = manifest["bin"]
        return self.node, str(self.folder / "node_modules" / package / programs[name])


def node_tools() -> NodePackages:
    """The API tools that are npm packages."""
    return node_packages("api-node-tools", API_TOOLS, find_node(Path(sys.prefix)))


def node_packages(name: str, listed: Path, node: Node) -> NodePackages:
    """The packages of a folder's lock file, in a folder of the cache."""
    files = [listed / "package.json", listed / "package-lock.json"]
    made_of = b"".join(file.read_bytes() for file in files)
    folder = cache_folder() / f"{name}-{hashlib.sha256(made_of).hexdigest()[:12]}"
    with only_one(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, folder)
            npm = (
                *node.npm,
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefix",
                folder,
            )
            path = f"{Path(node.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            environment = {**os.environ, "PATH": path}
            done = run(*npm, environment=environment, seconds=INSTALL_SECONDS)
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    return NodePackages(node.executable, folder)


@contextmanager
def only_one(lock: Path) -> Generator[None]:
    """Let one process at a time in."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    *command: str | Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS,
    folder: Path = ROOT,
    given: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in the folder of the app if none is named.

    ``given`` is its standard input.
    """
    return subprocess.run(  # noqa: S603 - all commands are this module's and its test's own
        command,
        env=environment,
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
