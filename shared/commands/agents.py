"""Manage agents from the command line: `python -m shared.commands.agents apply agent.yaml`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from ..config import FoundryAgentServiceConfig, IdentitySettings, SettingsError
from ..foundry.agents.operations import Agents, open_agents
from ..foundry.endpoint import AgentReference
from ..foundry.errors import FoundryError, InvalidRequestError
from ..foundry.wire_json import JsonObject, object_at

DONE, FAILED = 0, 1
INTERRUPTED = 130

Command = Callable[[argparse.Namespace, FoundryAgentServiceConfig, Agents], Awaitable[None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 (from argparse) wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        if options.command is _delete and not options.yes:
            _confirm(options.agent)
        asyncio.run(_run(options))
    except (FoundryError, SettingsError) as error:
        sys.stderr.write(f"agents: {' '.join(str(error).split())}\n")
        return FAILED
    except (KeyboardInterrupt, EOFError):
        return INTERRUPTED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.commands.agents",
        description="Manage the agents of the project that FOUNDRY_AGENT_SERVICE_ENDPOINT names.",
        epilog="Exit code: 0 done, 1 failed, 2 wrong usage.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    apply = commands.add_parser("apply", help="make a new version from a file, if it differs")
    apply.add_argument("file", type=Path, help="YAML; see examples/agent.yaml")
    apply.add_argument("--dry-run", action="store_true", help="show the difference only")
    apply.set_defaults(command=_apply)
    show = commands.add_parser("show", help="print an agent as a file that `apply` takes")
    show.add_argument("agent", type=_reference, metavar="NAME[:VERSION]")
    show.set_defaults(command=_show)
    listing = commands.add_parser("list", help="list all agents")
    listing.set_defaults(command=_list)
    delete = commands.add_parser("delete", help="delete an agent, or one of its versions")
    delete.add_argument("agent", type=_reference, metavar="NAME[:VERSION]")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(command=_delete)
    return parser


def _reference(text: str) -> AgentReference:
    try:
        reference = AgentReference.parse(text)
    except FoundryError:
        reference = None
    if reference is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME:VERSION")
    return reference


async def _run(options: argparse.Namespace) -> None:
    config = FoundryAgentServiceConfig.from_env()
    async with open_agents(config, IdentitySettings.from_env()) as agents:
        command: Command = options.command
        await command(options, config, agents)


async def _apply(
    options: argparse.Namespace, config: FoundryAgentServiceConfig, agents: Agents
) -> None:
    from ..foundry.agents.files import AgentFile, difference

    file = AgentFile.read(options.file)
    wanted = file.version(config)
    current = await agents.find(AgentReference(file.name))
    changes = difference(current, wanted)
    if current is not None and not changes:
        _say(f"{_label(current)} is up to date")
        return
    _say(changes)
    if options.dry_run:
        _say(f"{file.name} would get a new version")
        return
    _say(f"{_label(await agents.create_version(file.name, wanted))} created")


async def _show(
    options: argparse.Namespace, _config: FoundryAgentServiceConfig, agents: Agents
) -> None:
    from ..foundry.agents.files import as_file

    version = await agents.get(options.agent)
    _say(f"# {_label(version)}\n{as_file(version)}".rstrip())


async def _list(
    _options: argparse.Namespace, _config: FoundryAgentServiceConfig, agents: Agents
) -> None:
    rows = [("NAME", "VERSION", "MODEL", "STATE")]
    async for agent in agents.list():
        latest = object_at(object_at(agent, "versions"), "latest")
        model = str(object_at(latest, "definition").get("model") or "-")
        state = str(agent.get("state") or "-")
        rows.append((str(agent.get("name")), str(latest.get("version") or "-"), model, state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _say("  ".join(cells).rstrip())


async def _delete(
    options: argparse.Namespace, _config: FoundryAgentServiceConfig, agents: Agents
) -> None:
    await agents.delete(options.agent)
    _say(f"{_described(options.agent)} deleted")


def _confirm(agent: AgentReference) -> None:
    """Ask on the terminal whether to delete; without a terminal, `--yes` is required."""
    if not sys.stdin.isatty():
        raise InvalidRequestError("delete asks first, and there is no terminal: add --yes")
    if input(f"Delete {_described(agent)}? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise InvalidRequestError("nothing deleted")


def _described(agent: AgentReference) -> str:
    if agent.version:
        return f"{agent.name}:{agent.version}"
    return f"{agent.name} with all its versions"


def _label(version: JsonObject) -> str:
    return f"{version.get('name')}:{version.get('version')}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # its warnings repeat our errors
    sys.exit(main())
