"""Callers as App Service authentication presents them, true ones and forged ones."""

import base64
import json
from typing import Any

PRINCIPAL_HEADER = "x-ms-client-principal"
FUNCTION_KEY = "the-function-key"

BEARER = {"authorization": "Bearer of-a-program"}
"""App Service passes on the token of a program; a browser's session has none."""

TENANT = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER_TENANT = "aaaaaaaa-0000-4000-8000-000000000002"
FOREIGN_TENANT = "aaaaaaaa-0000-4000-8000-000000000003"
"""Not among those that are let in."""

OWNER = "bbbbbbbb-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
ADMIN = "bbbbbbbb-0000-4000-8000-000000000003"
CLIENT = "cccccccc-0000-4000-8000-000000000001"
AUDIENCE = "api://dddddddd-0000-4000-8000-000000000001"

OWNER_KEY = f"{TENANT}:{OWNER}"

ACCESS = {
    "AUTH_TENANT_IDS": f"{TENANT}, {OTHER_TENANT.upper()}",
    "AUTH_AUDIENCES": AUDIENCE,
    "WEBSITE_AUTH_ENABLED": "True",
}
"""Settings under which the callers of this module are known."""

Claim = tuple[str, str]


def claims_of(tenant: str, subject: str, *roles: str) -> list[Claim]:
    """The claims of a caller; without roles, one who was given none."""
    return [
        ("aud", AUDIENCE),
        ("iss", f"https://login.microsoftonline.com/{tenant}/v2.0"),
        ("http://schemas.microsoft.com/identity/claims/tenantid", tenant),
        ("http://schemas.microsoft.com/identity/claims/objectidentifier", subject),
        ("azp", CLIENT),
        ("name", "Somebody"),
        *(("roles", role) for role in roles),
    ]


def document(claims: list[Claim], auth_typ: str = "aad") -> dict[str, Any]:
    """The principal as App Service writes it."""
    return {
        "auth_typ": auth_typ,
        "claims": [{"typ": typ, "val": val} for typ, val in claims],
        "name_typ": "name",
        "role_typ": "roles",
    }


def encoded(principal: Any) -> str:
    """A header's text."""
    return base64.b64encode(json.dumps(principal).encode()).decode()


def known(tenant: str, subject: str, *roles: str) -> dict[str, str]:
    """The headers of a caller whom App Service let in."""
    given = roles or ("Agents.Use",)
    return {**BEARER, PRINCIPAL_HEADER: encoded(document(claims_of(tenant, subject, *given)))}
