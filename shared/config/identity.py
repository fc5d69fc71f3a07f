"""Settings of the app's own identity, and of access to the app."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from .base import Env, Settings, names_in
from .departments import Departments, read_departments
from .rules import each, matching, one_word, secure_url, web_origin

GUID = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_GUID_OR_NOTHING = rf"^({GUID})?$"
_guid = matching(GUID, "a GUID")


class IdentitySettings(Settings):
    """The Entra identity that the app signs in with."""

    client_id: Annotated[str, Env("AZURE_CLIENT_ID")] = ""
    """Client id of the user-assigned managed identity. Empty: the system-assigned one."""

    tenant_id: Annotated[str, Env("AZURE_TENANT_ID")] = ""
    """Tenant to sign in to. Empty: the default tenant of the signed-in developer."""

    managed_identity_endpoint: Annotated[str, Env("IDENTITY_ENDPOINT")] = ""
    """Set by Azure where a managed identity is assigned; the app then signs in with that
    identity."""

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
    """PEM file with the blueprint's certificate and key; only without a managed identity."""

    agent_blueprint_secret: Annotated[str, Env("FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET")] = Field(
        default="", repr=False
    )
    """Secret of the blueprint, for development; only without a managed identity."""

    authority_host: Annotated[
        str, Env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
    ] = Field(default="https://login.microsoftonline.com", pattern=r"^https://[^/?#@]+/?$")
    """URL of Microsoft Entra, which issues tokens; sovereign clouds have their own."""

    exchange_audience: Annotated[
        str, Env("FOUNDRY_TOKEN_EXCHANGE_AUDIENCE", "api://AzureADTokenExchange")
    ] = "api://AzureADTokenExchange"
    """Audience of the assertions of an agent identity; sovereign clouds have their own."""


class AuthMode(StrEnum):
    """How callers authenticate."""

    FUNCTION = "function"
    ENTRA = "entra"
    BOTH = "both"
    ANONYMOUS = "anonymous"
    KEYS = "keys"

    @property
    def asks_for_key(self) -> bool:
        """Whether the Functions host requires a function key."""
        return self in {AuthMode.FUNCTION, AuthMode.BOTH}

    @property
    def takes_client_keys(self) -> bool:
        """Whether a client key identifies its caller."""
        return self in {AuthMode.KEYS, AuthMode.FUNCTION, AuthMode.BOTH}

    @property
    def knows_principals(self) -> bool:
        """Whether the principal from App Service authentication is used."""
        return self in {AuthMode.ENTRA, AuthMode.BOTH}


class AccessSettings(Settings):
    """Access to the app: authentication, tenants, clients and departments."""

    mode: Annotated[AuthMode, Env("AUTH_MODE", "entra")] = AuthMode.FUNCTION
    """`function`: a function key; `entra`: an Entra token; `both`: a key, and with it a token
    where one is sent; `keys`: a client key; `anonymous`: nothing. A client key also identifies its
    caller in the modes `function` and `both`."""

    anonymous_confirmed: Annotated[bool, Env("AUTH_ANONYMOUS_CONFIRMED", "true")] = False
    """Confirms `AUTH_MODE=anonymous`, which is refused without this setting."""

    easy_auth: Annotated[bool, Env("WEBSITE_AUTH_ENABLED", "True")] = False
    """Set by Azure where App Service authentication is on; without it, principals are not
    trusted."""

    tenant_ids: Annotated[str, each(_guid), Env("AUTH_TENANT_IDS")] = ""
    """Tenants whose callers are admitted: GUIDs, separated by commas."""

    audiences: Annotated[str, each(one_word), Env("AUTH_AUDIENCES", "api://my-app")] = ""
    """Audiences that a caller's token may have, separated by commas: the app's client id or URI."""

    client_ids: Annotated[str, each(_guid), Env("AUTH_CLIENT_IDS")] = ""
    """Client applications that may call: GUIDs, separated by commas. Empty: any with a role."""

    issuers: Annotated[str, each(secure_url), Env("AUTH_ISSUERS")] = ""
    """Issuers that a caller's token may have, separated by commas. Empty: Entra's two issuers of
    the caller's tenant."""

    host_name: Annotated[str, Env("WEBSITE_HOSTNAME")] = ""
    """Set by Azure: the app's own host name, whose pages may call `/api/mcp`."""

    mcp_origins: Annotated[
        str, each(web_origin), Env("MCP_ALLOWED_ORIGINS", "https://chat.contoso.com")
    ] = ""
    """Origins of further web pages that may call `/api/mcp`, separated by commas."""

    mcp_scopes: Annotated[
        str, each(one_word), Env("WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES", "api://my-app/Agents.Use")
    ] = ""
    """Scopes that MCP clients ask Entra for, separated by commas. App Service authentication
    publishes them, and the app names that document where it refuses a token."""

    department_claim: Annotated[str, Env("DEPARTMENT_CLAIM", "department")] = ""
    """Claim of a caller's token that names its department, or its groups. Empty: no claim is
    read."""

    departments: Annotated[str, Env("DEPARTMENTS", '{"key": "finance", "<group id>": "law"}')] = ""
    """Departments of owners, and of values of `DEPARTMENT_CLAIM`, as JSON."""

    trust_stated_department: Annotated[bool, Env("TRUST_STATED_DEPARTMENT", "false")] = False
    """Spend from the budget of the department that a caller states, if no department of the caller
    is known. Off: a stated department is only a label in usage."""

    @cached_property
    def known_departments(self) -> Departments:
        """The departments of owners and claim values."""
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
                "AUTH_MODE is anonymous, which admits every caller: if that is intended, set "
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
