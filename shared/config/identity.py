"""Who the app is, and who may call it."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from .base import Env, Settings, names_in
from .departments import Departments, read_departments
from .rules import each, matching, one_word, secure_url

GUID = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_GUID_OR_NOTHING = rf"^({GUID})?$"
_guid = matching(GUID, "a GUID")


class IdentitySettings(Settings):
    """Which Entra identity the app signs in with, and on which terms."""

    client_id: Annotated[str, Env("AZURE_CLIENT_ID")] = ""
    """Client id of the user-assigned managed identity. Empty: the system-assigned one."""

    tenant_id: Annotated[str, Env("AZURE_TENANT_ID")] = ""
    """Tenant to sign in to. Empty: the default tenant of the signed-in developer."""

    managed_identity_endpoint: Annotated[str, Env("IDENTITY_ENDPOINT")] = ""
    """Set by Azure where a managed identity is assigned; its presence chooses that identity."""

    agent_identity_client_id: Annotated[str, Env("FOUNDRY_AGENT_IDENTITY_CLIENT_ID")] = Field(
        default="", pattern=_GUID_OR_NOTHING
    )
    """Client id of the Entra agent identity that the agent acts under, a GUID."""

    agent_blueprint_client_id: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID")] = Field(
        default="", pattern=_GUID_OR_NOTHING
    )
    """Client id of the blueprint that the agent identity was made from, a GUID."""

    agent_blueprint_certificate: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH")] = (
        ""
    )
    """PEM file with the blueprint's certificate and key; only where no managed identity is."""

    agent_blueprint_secret: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET")] = Field(
        default="", repr=False
    )
    """Secret of the blueprint, for development; only where no managed identity is."""

    authority_host: Annotated[
        str, Env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
    ] = Field(default="https://login.microsoftonline.com", pattern=r"^https://[^/?#@]+/?$")
    """Where Entra issues tokens; sovereign clouds have their own."""

    exchange_audience: Annotated[
        str, Env("FOUNDRY_TOKEN_EXCHANGE_AUDIENCE", "api://AzureADTokenExchange")
    ] = "api://AzureADTokenExchange"
    """Audience of the assertions of an agent identity; sovereign clouds have their own."""


class AuthMode(StrEnum):
    """How callers show who they are."""

    FUNCTION = "function"
    ENTRA = "entra"
    BOTH = "both"
    ANONYMOUS = "anonymous"

    @property
    def asks_for_key(self) -> bool:
        """Whether the Functions host lets in only requests with a function key."""
        return self in {AuthMode.FUNCTION, AuthMode.BOTH}

    @property
    def knows_principals(self) -> bool:
        """Whether the principal that App Service authentication found counts."""
        return self in {AuthMode.ENTRA, AuthMode.BOTH}


class AccessSettings(Settings):
    """Who may call the app."""

    mode: Annotated[AuthMode, Env("AUTH_MODE", "entra")] = AuthMode.FUNCTION
    """`function`: a function key; `entra`: an Entra token; `both`: a key, and with it a token
    where one is sent; `anonymous`: nothing."""

    anonymous_confirmed: Annotated[bool, Env("AUTH_ANONYMOUS_CONFIRMED", "true")] = False
    """Says a second time that `AUTH_MODE=anonymous` is meant."""

    easy_auth: Annotated[bool, Env("WEBSITE_AUTH_ENABLED", "True")] = False
    """Set by Azure where App Service authentication is on; without it no principal is believed."""

    tenant_ids: Annotated[str, each(_guid), Env("AUTH_TENANT_IDS")] = ""
    """Tenants whose callers are let in, GUIDs with commas between."""

    audiences: Annotated[str, each(one_word), Env("AUTH_AUDIENCES", "api://my-app")] = ""
    """Audiences that a caller's token may have, with commas between: the app's client id or URI."""

    client_ids: Annotated[str, each(_guid), Env("AUTH_CLIENT_IDS")] = ""
    """Client applications that may call, GUIDs with commas between. Empty: any with a role."""

    issuers: Annotated[str, each(secure_url), Env("AUTH_ISSUERS")] = ""
    """Issuers that a caller's token may have, with commas between. Empty: Entra's own two of the
    caller's tenant."""

    department_claim: Annotated[str, Env("DEPARTMENT_CLAIM", "department")] = ""
    """Claim of a caller's token that names its department, or its groups. Empty: none does."""

    departments: Annotated[str, Env("DEPARTMENTS", '{"key": "finance", "<group id>": "law"}')] = ""
    """Departments of owners, and of values of `DEPARTMENT_CLAIM`, as JSON."""

    trust_stated_department: Annotated[bool, Env("TRUST_STATED_DEPARTMENT", "false")] = False
    """Spend from the budget of the department that a caller states, if it is known from nowhere
    else. Off: what a caller states is a label in usage."""

    @cached_property
    def known_departments(self) -> Departments:
        """Who belongs where."""
        return Departments(read_departments(self.departments), self.trust_stated_department)

    @field_validator("departments")
    @classmethod
    def _has_departments(cls, text: str) -> str:
        read_departments(text)
        return text

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.mode is AuthMode.ANONYMOUS and not self.anonymous_confirmed:
            raise ValueError(
                "AUTH_MODE is anonymous, which lets every caller in: if that is intended, set "
                "AUTH_ANONYMOUS_CONFIRMED=true as well; if not, choose function or entra"
            )
        if self.mode.knows_principals and not (
            names_in(self.tenant_ids) and names_in(self.audiences)
        ):
            raise ValueError(
                f"AUTH_MODE is {self.mode}, which needs AUTH_TENANT_IDS (who may call) and "
                "AUTH_AUDIENCES (this app's client id or application id URI)"
            )
        return self
