"""Run by azd after it has created the resources: `python3 -m infra.scripts.postprovision`.

Makes the Entra agent identity where one is wanted, and says which role the app needs at a Key Vault
of yours. Standard library only: what the agent identity needs beside it is looked for first.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("httpx", "azure.identity")
"""Packages that the script of the agent identity imports."""


def vaults_to_open(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The vaults that `azd env set-secret` refers to, each with its subscription."""
    references = {v.strip() for v in environment.values() if v.strip().startswith("akvs://")}
    found = {tuple(each.removeprefix("akvs://").split("/")[:2]) for each in references}
    return sorted((parts[0], parts[1]) for parts in found if len(parts) > 1)


def find_python() -> str | None:
    """A Python with the packages of the agent identity: this one, or that of the checkout."""
    if all(_is_installed(name) for name in NEEDED):
        return sys.executable
    places = (".venv/bin/python", ".venv/Scripts/python.exe")
    return next((str(ROOT / place) for place in places if (ROOT / place).exists()), None)


def main() -> int:
    """Run the requested steps; return the exit code of the agent identity's script, or 1."""
    for subscription, vault in vaults_to_open(os.environ):
        principal = os.environ.get("MANAGED_IDENTITY_PRINCIPAL_ID", "<principal id>")
        say(
            f"Secrets are read from the vault {vault}. Give the app its role there, once:\n"
            f"  scope=$(az keyvault show --name {vault} --subscription {subscription} "
            "--query id --output tsv)\n"
            f"  az role assignment create --role 'Key Vault Secrets User' --scope $scope "
            f"--assignee-object-id {principal} --assignee-principal-type ServicePrincipal"
        )
    # The templates have checked the flag and output it as true or false.
    if os.environ.get("AGENT_IDENTITY_ENABLED", "false").strip().lower() != "true":
        say("No agent identity is wanted (AGENT_IDENTITY_ENABLED is not true).")
        return 0
    python = find_python()
    if python is None:
        say("The agent identity needs: python3 -m pip install -r requirements.txt")
        return 1
    command = [python, "-m", "infra.scripts.agent_identity", "--write-azd-environment"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 (a fixed command)


def say(line: str) -> None:
    """Write a line for the person who runs azd."""
    sys.stderr.write(f"{line}\n")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
