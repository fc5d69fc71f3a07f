"""Finds a Python 3.13 and gives it the packages that Azure installs."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from local.services import ROOT, STATE_DIR

VERSION = "3.13"
RUN_SECONDS = 240


def find_python() -> Path | None:
    """A Python 3.13 on PATH or among pyenv's versions, or None."""
    on_path = shutil.which(f"python{VERSION}")
    candidates = [Path(on_path)] if on_path else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(pyenv.glob(f"versions/{VERSION}*/bin/python{VERSION}"), reverse=True)
    return next((python for python in candidates if _runs(python)), None)


def _runs(python: Path) -> bool:
    """Whether it is more than pyenv's placeholder for a version that is not chosen."""
    return run(python, "-c", "").returncode == 0


def with_requirements(python: Path) -> Path:
    """The Python of a virtual environment with `requirements.txt`, made once per content of it."""
    requirements = ROOT / "requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    environment = STATE_DIR / "py313" / digest
    own = environment / "bin" / "python"
    complete = environment / "complete"
    if not complete.exists():
        run(python, "-m", "venv", "--clear", environment).check_returncode()
        install = (own, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements)
        run(*install).check_returncode()
        complete.touch()
    return own


def run(
    *command: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in the folder of the app."""
    return subprocess.run(  # noqa: S603 - all commands are this module's and its test's own
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
