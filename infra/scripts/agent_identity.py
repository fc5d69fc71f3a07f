"""Gives the app an Entra agent identity: `python3 -m infra.scripts.agent_identity`.

Makes an agent identity blueprint, its principal, a federated credential by which the app's managed
identity speaks for the blueprint, and one agent identity. What is there already stays, so it may
be run again at any time. azd runs it after provisioning when AGENT_IDENTITY_ENABLED is true.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from infra.scripts.directory import Provisioner, Wanted
from infra.scripts.graph import GRAPH_URL, Graph, GraphError, Patience
from infra.scripts.sign_in import SIGN_IN


def write_azd_environment(variables: dict[str, str]) -> None:
    """Store the created ids in the azd environment, where the next provisioning reads them."""
    for name, value in variables.items():
        subprocess.run(["azd", "env", "set", name, value], check=True)  # noqa: S603, S607 (as the user has it)
    if any(os.environ.get(name) != value for name, value in variables.items()):
        say("Run `azd provision` once more: it gives the agent identity its role in Foundry and")
        say("tells the app to use it.")


def say(line: str) -> None:
    """Print a line for the user."""
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Run the command; return 1 after a one-line error."""
    arguments = _parse_arguments()
    missing = [
        option
        for option in ("name", "tenant_id", "managed_identity_principal_id", "sponsor_id")
        if not getattr(arguments, option)
    ]
    if missing:
        options = ", ".join("--" + each.replace("_", "-") for each in missing)
        say(f"Missing: {options}. Inside azd they come from the environment; see --help.")
        return 2
    try:
        return _run(arguments)
    except GraphError as error:
        say(str(error))
        return 1


def _run(arguments: argparse.Namespace) -> int:
    wanted = Wanted(
        name=arguments.name,
        tenant_id=arguments.tenant_id,
        managed_identity_principal_id=arguments.managed_identity_principal_id,
        sponsor_id=arguments.sponsor_id,
        blueprint_client_id=arguments.blueprint_client_id,
    )
    token = SIGN_IN[arguments.sign_in](arguments.tenant_id)
    with Graph(arguments.graph_url, token, Patience(arguments.wait)) as graph:
        provisioner = Provisioner(graph, wanted, dry_run=arguments.dry_run, say=say)
        if arguments.delete:
            provisioner.delete()
            return 0
        made = provisioner.provision()
    if made is None:
        return 0
    sys.stdout.write("".join(f'{name}="{value}"\n' for name, value in made.variables().items()))
    if arguments.write_azd_environment and not arguments.dry_run:
        write_azd_environment(made.variables())
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m infra.scripts.agent_identity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def option(name: str, variable: str, text: str, default: str = "") -> None:
        value = os.environ.get(variable) or default
        parser.add_argument(name, default=value, help=f"{text} (default: ${variable})")

    option("--name", "FUNCTION_APP_NAME", "display name of blueprint and agent identity")
    option("--tenant-id", "AZURE_TENANT_ID", "tenant")
    option(
        "--managed-identity-principal-id",
        "MANAGED_IDENTITY_PRINCIPAL_ID",
        "object id of the app's managed identity",
    )
    sponsor = os.environ.get("AZURE_PRINCIPAL_ID", "")
    option(
        "--sponsor-id",
        "AGENT_IDENTITY_SPONSOR_ID",
        "object id of the person who answers for the agent identity, else $AZURE_PRINCIPAL_ID",
        sponsor,
    )
    option(
        "--blueprint-client-id",
        "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID",
        "blueprint to use, if it is there",
    )
    option("--graph-url", "GRAPH_URL", "Microsoft Graph endpoint", GRAPH_URL)
    parser.add_argument(
        "--sign-in",
        choices=sorted(SIGN_IN),
        default=os.environ.get("AGENT_IDENTITY_SIGN_IN") or "azure-cli",
        help="azure-cli in pipelines, device-code for people, token for $GRAPH_ACCESS_TOKEN",
    )
    parser.add_argument("--wait", type=float, default=300, help="seconds for each call (300)")
    parser.add_argument("--dry-run", action="store_true", help="read, and say what would be done")
    parser.add_argument("--delete", action="store_true", help="remove what this command made")
    parser.add_argument(
        "--write-azd-environment", action="store_true", help="keep the ids with `azd env set`"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
