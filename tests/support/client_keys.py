"""Client keys of tests, and the headers that carry them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.app import Services
from shared.http.principal import Role
from shared.state.client_keys import ClientKey, KeyTerms
from shared.state.key_text import KEY_PREFIX, new_key_id
from shared.state.owners import client_key_owner

from . import forking
from .environments import run


def bearer(key: str) -> dict[str, str]:
    """The header of a client's key."""
    return {"Authorization": f"Bearer {key}"}


def new_key(
    environment: Mapping[str, str], label: str, *more: str, python: Path | None = None
) -> str:
    """A key made with the command line, on another Python where one is named."""
    create = ("shared.commands.keys", "create", "--label", label, *more)
    if python:
        done = run(python, "-m", *create, environment=environment)
    else:
        done = forking.run(*create, environment=environment)
    assert done.returncode == 0, done.stderr
    return next(word for word in done.stdout.split() if word.startswith(KEY_PREFIX))


async def issue(services: Services, *roles: Role, **more: Any) -> str:
    """A key of the app, made as by the command line."""
    key_id = new_key_id()
    terms = KeyTerms(key_id, **more)
    key = ClientKey(
        key_id=key_id,
        owner=client_key_owner(key_id),
        label="test",
        roles=tuple(role.value for role in roles or (Role.USE,)),
        terms=terms,
        created_by="test",
        created_at=services.core.clock(),
    )
    return await services.core.client_keys.issue(key)
