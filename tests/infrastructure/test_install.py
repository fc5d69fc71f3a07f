"""`pip install .` and `pip install -e .` into bare environments give the documented names.

What the project depends on is not downloaded for it: an environment is made of links to just the
declared dependencies as they are installed here, and pip finds its requirements met there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local.services import ROOT

PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE")
PACKAGES = {"AgentOperatingSystem": "shared", "aos_cli": "cli"}
"""The folders of the packages that are installed."""

BUILD = ("--quiet", "--no-build-isolation")

IMPORTS = """
import sys
from AgentOperatingSystem.config import MLConfig
from AgentOperatingSystem.ml import FoundryAgentServiceClient, FoundryAgentServiceConfig
from AgentOperatingSystem.orchestration import ModelOrchestrator, ModelType

assert issubclass(FoundryAgentServiceConfig, MLConfig.__mro__[1])
assert ModelType.FOUNDRY_AGENT_SERVICE == "foundry_agent_service"
ModelOrchestrator(MLConfig())
assert not {"shared", "azure.functions", "azure.data"} & set(sys.modules), sys.modules.keys()
print(sys.modules["AgentOperatingSystem"].__path__[0])
"""
"""The library, which needs neither the Functions worker nor storage."""


def pip(python: Path, *arguments: str | Path) -> None:
    """Run this environment's pip on another one."""
    command = [sys.executable, "-m", "pip", "--python", python, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stderr


def imported_from(python: Path) -> str:
    """Where the documented names come from in an environment; warnings are errors."""
    command = [python, "-I", "-W", "error", "-c", IMPORTS]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, free of what earlier builds left."""
    folder = tmp_path_factory.mktemp("project")
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, folder)
    for source in PACKAGES.values():
        shutil.copytree(
            ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", *BUILD, "--no-deps", "--wheel-dir", folder, project)
    (built,) = folder.glob("*.whl")
    return built


def declared(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The distributions that requirements ask for on this Python, and what those ask for."""
    found: dict[str, Distribution] = {}
    wanted = [(Requirement(text), "") for text in requirements]
    while wanted:
        requirement, extra = wanted.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        dist = distribution(requirement.name)
        for extra in requirement.extras or {""}:
            if (name := f"{requirement.name}[{extra}]") not in found:
                found[name] = dist
                wanted += [(Requirement(text), extra) for text in dist.requires or ()]
    return found


def lend(distributions: Iterable[Distribution], python: Path) -> None:
    """Link the files of installed distributions into another environment."""
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    for dist in distributions:
        for file in dist.files or ():
            target = site / file
            if ".." not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(dist.locate_file(file))).resolve())


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The Python of an environment with the declared dependencies and nothing else."""
    python = tmp_path / "environment" / "bin" / "python"
    venv.create(python.parents[1], symlinks=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lend(declared(project["dependencies"]).values(), python)
    return python


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    modules = {
        (package, path.relative_to(ROOT / source))
        for package, source in PACKAGES.items()
        for path in (ROOT / source).rglob("*.py")
    }
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
    assert {(name.parts[0], Path(*name.parts[1:])) for name in names} == modules


def test_the_wheel_installs_and_imports(wheel: Path, bare: Path) -> None:
    pip(bare, "install", "--quiet", "--no-index", wheel)
    (site,) = bare.parents[1].glob("lib/python*/site-packages")
    assert imported_from(bare) == str(site / "AgentOperatingSystem")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lend(declared(project["optional-dependencies"]["cli"]).values(), bare)
    pip(bare, "install", "--quiet", "--no-index", f"{wheel}[cli]")
    for arguments, shown in ((["--help"], "usage: aos"), (["jobs", "--help"], "submit")):
        ran = subprocess.run(  # noqa: S603 - ours
            [bare.parent / "aos", *arguments], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert shown in ran.stdout


def test_an_editable_install_imports_the_checkout(project: Path, bare: Path) -> None:
    lend([distribution("setuptools")], bare)
    pip(bare, "install", *BUILD, "--no-index", "--editable", project)
    assert imported_from(bare) == str(project / "shared")
