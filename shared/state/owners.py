"""The names of owners: to whom everything that is stored belongs.

<tenant id>:<object id>   a user or app of Microsoft Entra, in lower case
key                       all callers with a function key: a key proves possession, not a person
anonymous                 all callers of an app that asks for nothing
"""

from __future__ import annotations

import re

from ..config import GUID, AccessSettings, AuthMode

KEY_OWNER = "key"
ANONYMOUS_OWNER = "anonymous"

NO_OWNER = "$nobody"
"""The owner of requests that are not authenticated; no caller and no row has this name."""

_ENTRA_OWNER = re.compile(rf"(?P<tenant>{GUID}):{GUID}")


class OwnerError(ValueError):
    """A text names no owner who can be; it says what it must be."""


def entra_owner(tenant_id: str, object_id: str) -> str:
    """The owner that a principal of Entra is."""
    return f"{tenant_id}:{object_id}".lower()


def canonical_owner(text: str) -> str | None:
    """The owner that a text from outside names, in its one spelling; None if it names none."""
    if text in {KEY_OWNER, ANONYMOUS_OWNER}:
        return text
    return text.lower() if _ENTRA_OWNER.fullmatch(text) else None


def queue_owner(text: str, settings: AccessSettings) -> str:
    """The owner that a queue message names.

    It is believed, because only identities with a role on the queue can put messages there. Where
    callers are known to Entra, it must be one whom Entra could let in, spelt as it would be.

    Raises:
        OwnerError: saying what it must be.
    """
    if not settings.mode.knows_principals:
        return text
    owner = canonical_owner(text)
    if owner == KEY_OWNER and settings.mode is AuthMode.BOTH:
        return owner
    match = _ENTRA_OWNER.fullmatch(owner or "")
    if owner is None or match is None or match["tenant"] not in settings.tenant_ids.lower():
        raise OwnerError("must be <tenant id>:<object id> of a tenant in AUTH_TENANT_IDS")
    return owner
