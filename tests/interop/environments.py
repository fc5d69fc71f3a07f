"""The pinned clients, and how their scripts are run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.node import packaged_node
from tests.support.environments import NodePackages, node_packages, python_packages, run

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
SCRIPT_SECONDS = 240


def python(requirements: str = "requirements.txt") -> Path:
    """The Python that has the packages of one of the lists."""
    return python_packages("openai-clients", HERE / requirements) / "python"


def node(folder: str = "") -> NodePackages:
    """The packages of a folder, on the Node.js that is one of the Python packages."""
    with_node = packaged_node(python().parent.parent)
    return node_packages("openai-node-clients", HERE / folder, with_node)


@dataclass(frozen=True)
class Script:
    """A script that prints what came of its client."""

    name: str
    requirements: str = "requirements.txt"
    packages: str = ""
    """The folder whose packages a script for Node.js has."""

    def report(self, apis: list[str], environment: Mapping[str, str], folder: Path) -> Any:
        """Run the script for some of its APIs."""
        is_node = self.name.endswith(".mjs")
        command = self._in_node(folder) if is_node else (python(self.requirements), self._file)
        done = run(*command, *apis, environment=environment, seconds=SCRIPT_SECONDS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def _file(self) -> Path:
        return CLIENTS / self.name

    def _in_node(self, folder: Path) -> tuple[str, Path]:
        packages = node(self.packages)
        for file in CLIENTS.glob("*.mjs"):  # Node.js looks for packages where the script is
            shutil.copy(file, folder)
        (folder / "node_modules").symlink_to(packages.folder / "node_modules")
        return packages.node, folder / self.name
