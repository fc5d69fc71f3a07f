"""Owners: the names under which all data is stored.

<tenant id>:<object id>   a user or app of Microsoft Entra, in lower case
key                       all callers with a function key: a key proves possession, not a person
key:<key id>              a caller with a client key, unless the key names another owner
anonymous                 all callers of an app without authentication
"""

from __future__ import annotations

import re

from ..config import GUID, AccessSettings, AuthMode
from .key_text import KEY_ID

KEY_OWNER = "key"
ANONYMOUS_OWNER = "anonymous"

NO_OWNER = "$nobody"
"""The owner of requests that are not authenticated; no caller and no row has this name."""

_CLIENT_KEY_OWNER = re.compile(f"{KEY_OWNER}:{KEY_ID}")
_ENTRA_OWNER = re.compile(rf"(?P<tenant>{GUID}):{GUID}")


class OwnerError(ValueError):
    """A text is not a valid owner; the message says what is valid."""


def entra_owner(tenant_id: str, object_id: str) -> str:
    """The owner name of an Entra principal."""
    return f"{tenant_id}:{object_id}".lower()


def client_key_owner(key_id: str) -> str:
    """The owner of a client key that names no other."""
    return f"{KEY_OWNER}:{key_id}"


def canonical_owner(text: str) -> str | None:
    """The canonical spelling of an owner in an untrusted text; None if it is invalid."""
    if text in {KEY_OWNER, ANONYMOUS_OWNER} or _CLIENT_KEY_OWNER.fullmatch(text):
        return text
    return text.lower() if _ENTRA_OWNER.fullmatch(text) else None


def queue_owner(text: str, settings: AccessSettings) -> str:
    """The owner that a queue message names.

    The name is trusted, because only identities with a role on the queue can send messages to it.
    If the app authenticates with Entra, it must be a principal of an allowed tenant.

    Raises:
        OwnerError: if it is not a valid owner.
    """
    if not settings.mode.knows_principals:
        return text
    owner = canonical_owner(text)
    is_of_key = owner == KEY_OWNER or _CLIENT_KEY_OWNER.fullmatch(owner or "")
    if owner is not None and is_of_key and settings.mode is AuthMode.BOTH:
        return owner
    match = _ENTRA_OWNER.fullmatch(owner or "")
    if owner is None or match is None or match["tenant"] not in settings.tenant_ids.lower():
        raise OwnerError("must be <tenant id>:<object id> of a tenant in AUTH_TENANT_IDS")
    return owner
