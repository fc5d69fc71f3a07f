"""Client keys of tests, and the headers that carry them."""

from __future__ import annotations

from typing import Any

from shared.app import Services
from shared.http.principal import Role
from shared.state.client_keys import ClientKey, KeyTerms
from shared.state.key_text import new_key_id
from shared.state.owners import client_key_owner


def bearer(key: str) -> dict[str, str]:
    """The header of a client's key."""
    return {"Authorization": f"Bearer {key}"}


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
