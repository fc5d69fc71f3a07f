"""`python -m shared.commands.keys`: create, list and revoke client keys.

It reads the settings of the app from the environment and writes to the app's table, so it needs
access to the storage account and no key. The first key is created in this way.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime

from pydantic import ValidationError

from ..api.keys import CreateKey, client_key
from ..app import Core, Services
from ..audit.trail import Action, AuditOutcome, AuditRecord
from ..config import AppSettings, SettingsError
from ..http.principal import Role
from ..problems import ProblemError
from ..state.client_keys import ClientKey
from ..state.errors import StateError
from ..state.key_text import new_key_id
from ..text import parse_json

PAGE_KEYS = 100
HOW = "command"
"""How the audit trail says that the caller was authenticated: by access to the storage account."""

Command = Callable[[argparse.Namespace, Core], Awaitable[None]]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except (SettingsError, StateError, ProblemError, ValueError) as error:
        sys.stderr.write(f"{_reason(error)}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.commands.keys", description=(__doc__ or "").partition("\n\n")[2]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="create a key and print it, the only time")
    create.add_argument("--label", required=True, help="what the key is for")
    create.add_argument("--owner", help="whose data the key reaches; default: its own")
    create.add_argument("--admin", action="store_true", help="give it the role Agents.Admin")
    create.add_argument("--department", help="department whose budgets it spends from")
    create.add_argument("--expires", type=_moment, metavar="TIME", help="such as 2027-01-01T00:00Z")
    create.add_argument("--models", type=_names, help="models that may answer, with commas")
    create.add_argument("--tools", type=_names, help="tools that requests may name, with commas")
    create.add_argument("--budgets", type=parse_json, default=[], help="JSON, as in BUDGETS")
    create.set_defaults(command=_create)
    listing = commands.add_parser("list", help="list all keys, without their secrets")
    listing.set_defaults(command=_list)
    revoke = commands.add_parser("revoke", help="end a key for good, everywhere within 30 s")
    revoke.add_argument("key_id", metavar="ID", help="the part of the key between the underscores")
    revoke.set_defaults(command=_revoke)
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


async def _run(options: argparse.Namespace) -> None:
    services = Services.connect(AppSettings.from_env())
    try:
        command: Command = options.command
        await command(options, services.core)
    finally:
        await services.aclose()


async def _create(options: argparse.Namespace, core: Core) -> None:
    body = CreateKey(
        label=options.label,
        owner=options.owner,
        roles=[Role.USE, Role.ADMIN] if options.admin else [Role.USE],
        department=options.department,
        expires_at=options.expires,
        models=options.models,
        tools=options.tools,
        budgets=options.budgets,
    )
    prices = bool(core.prices.models)
    key = client_key(body, new_key_id(), created_by=HOW, now=core.clock(), has_prices=prices)
    text = await core.client_keys.issue(key)
    await _record(Action.KEY_CREATE, key, core)
    _say(text)


async def _list(_: argparse.Namespace, core: Core) -> None:
    rows = [("ID", "OWNER", "ROLES", "STATE", "LABEL")]
    after = None
    while keys := await core.client_keys.list(PAGE_KEYS, after, owner=None):
        rows += [(k.key_id, k.owner, ",".join(k.roles), _state(k, core), k.label) for k in keys]
        after = keys[-1].key_id
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(map(str.ljust, row, widths)).rstrip())


def _state(key: ClientKey, core: Core) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "valid"
    state = "expires" if key.expires_at > core.clock() else "expired"
    return f"{state} {key.expires_at:%Y-%m-%d}"


async def _revoke(options: argparse.Namespace, core: Core) -> None:
    key = await core.client_keys.revoke(options.key_id)
    await _record(Action.KEY_REVOKE, key, core)
    _say(f"{key.key_id} ({key.label}) is revoked")


async def _record(action: Action, key: ClientKey, core: Core) -> None:
    record = AuditRecord(
        action=action,
        outcome=AuditOutcome.SUCCEEDED,
        at=core.clock(),
        owner=key.owner,
        subject=getpass.getuser(),
        actor="shared.commands.keys",
        how=HOW,
        key_id=key.key_id,
    )
    await core.audit.append(record)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
