"""Reads the principal header of App Service authentication.

The header is trusted only where App Service authentication is on, because only then does App
Service remove this header from incoming requests. Its content is still validated like any input.
https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from pydantic import BaseModel, Field, ValidationError

PRINCIPAL_HEADER = "x-ms-client-principal"

MAX_HEADER_CHARS = 32 * 1024
"""A token with 200 groups needs half of it; App Service allows 64 KiB for all headers."""

MAX_CLAIMS = 1_000

_PROVIDERS = {"aad", "azureactivedirectory"}

_LONG_NAMES = {
    "http://schemas.microsoft.com/identity/claims/tenantid": "tid",
    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid",
    "http://schemas.microsoft.com/identity/claims/scope": "scp",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "roles",
}
"""App Service renames some claims, unless configured not to."""


class PrincipalHeaderError(Exception):
    """App Service did not write this header; the text says why and quotes nothing of it."""


class _Claim(BaseModel):
    typ: str
    val: str


class _Header(BaseModel):
    auth_typ: str
    claims: list[_Claim] = Field(max_length=MAX_CLAIMS)


class Claims:
    """The claims of a principal by short name; a claim may have several values."""

    def __init__(self, claims: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in claims:
            self._values.setdefault(_LONG_NAMES.get(name, name), []).append(value)

    def all(self, name: str) -> list[str]:
        """Every value of a claim."""
        return self._values.get(name, [])

    def one(self, name: str) -> str | None:
        """The value of a claim if all its occurrences have the same value, else None."""
        values = set(self.all(name))
        return values.pop() if len(values) == 1 else None


def read_principal(headers: list[str]) -> Claims:
    """Read the claims from the principal headers of a request; there must be exactly one header.

    Raises:
        PrincipalHeaderError: if it is not strict base64 of a valid Entra principal within limits.
    """
    if len(headers) != 1:
        raise PrincipalHeaderError("there is more than one principal header")
    (text,) = headers
    if len(text) > MAX_HEADER_CHARS:
        raise PrincipalHeaderError("the principal header is too long")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PrincipalHeaderError("the principal header is not base64") from None
    if base64.b64encode(content).decode() != text:
        raise PrincipalHeaderError("the principal header is not canonical base64")
    try:
        header = _Header.model_validate_json(content, strict=True)
    except ValidationError:
        raise PrincipalHeaderError("the principal header holds no principal") from None
    if header.auth_typ not in _PROVIDERS:
        raise PrincipalHeaderError("the principal is not one of Microsoft Entra")
    return Claims((claim.typ, claim.val) for claim in header.claims)
