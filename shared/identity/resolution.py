"""Chooses the app's credential from the settings alone.

The first line that applies decides:

    an API key                          -> the key
    the client id of an agent identity  -> the agent identity, through its blueprint
    a managed identity is assigned      -> that identity
    the Azure CLI is installed          -> the developer who signed in with it

There is no fallback at run time: if the chosen credential does not work, that is an error.
azure-identity takes 0.2 s to import, so it is imported only where it is needed.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from ..config import FoundryAgentServiceConfig, IdentitySettings
from .agent_identity import AgentIdentity, AgentIdentityCredential
from .blueprint import BlueprintProof, CertificateProof, ManagedIdentityProof, SecretProof
from .credentials import ApiKeyCredential, Credential, EntraCredential
from .errors import CredentialSettingsError
from .token_endpoint import TokenEndpoint

if TYPE_CHECKING:
    from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

log = logging.getLogger(__name__)

NOTHING_USABLE = (
    "Foundry Agent Service API key not configured: set FOUNDRY_AGENT_SERVICE_API_KEY, or set "
    "FOUNDRY_ENABLE_ENTRA_AGENT_ID=true and assign a managed identity (in Azure) or sign in with "
    "'az login' (on your machine)."
)


class CredentialKind(StrEnum):
    """The ways to authenticate to Foundry."""

    API_KEY = "api key"
    AGENT_IDENTITY = "agent identity"
    MANAGED_IDENTITY = "managed identity"
    DEVELOPER = "developer"


@dataclass(frozen=True, slots=True)
class CredentialChoice:
    """The credential that the settings select, and why."""

    kind: CredentialKind
    reason: str
    client_id: str | None = None
    """Client id of the Entra identity, if the settings name one."""

    def __str__(self) -> str:
        name = f" {self.client_id}" if self.client_id else ""
        return f"{self.kind}{name}, because {self.reason}"


def choose_credential(
    foundry: FoundryAgentServiceConfig, identity: IdentitySettings
) -> CredentialChoice:
    """Choose the credential that the settings select, without creating it.

    Raises:
        CredentialSettingsError: if the settings select none, or one that cannot work.
    """
    if foundry.api_key:
        return CredentialChoice(
            CredentialKind.API_KEY, "FOUNDRY_AGENT_SERVICE_API_KEY is set and comes first"
        )
    if not foundry.enable_entra_agent_id:
        raise CredentialSettingsError(NOTHING_USABLE)
    if identity.agent_identity_client_id or identity.agent_blueprint_client_id:
        agent = _agent_identity(identity)
        _check_proof(identity)
        return CredentialChoice(
            CredentialKind.AGENT_IDENTITY,
            f"FOUNDRY_AGENT_IDENTITY_CLIENT_ID is set; its blueprint is {agent.blueprint_id}",
            agent.agent_id,
        )
    if identity.managed_identity_endpoint:
        return CredentialChoice(
            CredentialKind.MANAGED_IDENTITY,
            "a managed identity is assigned"
            + (" and AZURE_CLIENT_ID names it" if identity.client_id else ", system-assigned"),
            identity.client_id or None,
        )
    if shutil.which("az"):
        return CredentialChoice(
            CredentialKind.DEVELOPER, "there is no managed identity, and the Azure CLI is installed"
        )
    raise CredentialSettingsError(NOTHING_USABLE)


def resolve_credential(
    foundry: FoundryAgentServiceConfig,
    identity: IdentitySettings | None = None,
    *,
    http: httpx.AsyncBaseTransport | None = None,
) -> Credential:
    """Create the credential that the settings select; token requests are sent through ``http``.

    Without ``identity``, its settings are read from the environment, unless there is an API key.

    Raises:
        CredentialSettingsError: if the settings select none, or one that cannot work.
        SettingsError: if a setting in the environment is wrong.
    """
    if identity is None:
        identity = IdentitySettings() if foundry.api_key else IdentitySettings.from_env()
    choice = choose_credential(foundry, identity)
    log.info("Requests to Foundry use the %s", choice)
    if choice.kind is CredentialKind.API_KEY:
        return ApiKeyCredential(foundry.api_key)
    if choice.kind is CredentialKind.AGENT_IDENTITY:
        return EntraCredential(_agent_tokens(identity, http))
    tokens = token_credential(identity)
    if tokens is None:
        raise CredentialSettingsError(NOTHING_USABLE)
    return EntraCredential(tokens)


def token_credential(
    settings: IdentitySettings,
) -> ManagedIdentityCredential | AzureCliCredential | None:
    """A credential for the managed identity or the Azure CLI's user; None if there is neither."""
    if settings.managed_identity_endpoint:
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=settings.client_id or None)
    if shutil.which("az"):
        from azure.identity.aio import AzureCliCredential

        return AzureCliCredential(tenant_id=settings.tenant_id)
    return None


def _agent_tokens(
    identity: IdentitySettings, http: httpx.AsyncBaseTransport | None
) -> AgentIdentityCredential:
    agent = _agent_identity(identity)
    endpoint = TokenEndpoint(identity.authority_host, agent.tenant_id, http=http)
    return AgentIdentityCredential(
        agent,
        _proof(identity, endpoint),
        endpoint,
        exchange_audience=identity.exchange_audience,
    )


def _agent_identity(identity: IdentitySettings) -> AgentIdentity:
    return AgentIdentity(
        identity.tenant_id, identity.agent_blueprint_client_id, identity.agent_identity_client_id
    )


def _check_proof(identity: IdentitySettings) -> None:
    """Check that the blueprint has exactly one proof; a managed identity is one."""
    proofs = {
        "a managed identity": identity.managed_identity_endpoint,
        "FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH": identity.agent_blueprint_certificate,
        "FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET": identity.agent_blueprint_secret,
    }
    present = [name for name, value in proofs.items() if value]
    if not present:
        raise CredentialSettingsError(
            "The blueprint of the agent identity has nothing to authenticate with: assign a "
            "managed identity (in Azure), or set FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH (on "
            "your machine)."
        )
    if len(present) > 1:
        raise CredentialSettingsError(
            f"The blueprint of the agent identity has {len(present)} credentials: keep one of "
            f"{', '.join(present)}. In Azure, keep the managed identity."
        )


def _proof(identity: IdentitySettings, endpoint: TokenEndpoint) -> BlueprintProof:
    if identity.agent_blueprint_certificate:
        path = Path(identity.agent_blueprint_certificate)
        return CertificateProof(path, identity.agent_blueprint_client_id, endpoint.url)
    if identity.agent_blueprint_secret:
        return SecretProof(identity.agent_blueprint_secret)
    tokens = token_credential(identity)
    if tokens is None:
        raise CredentialSettingsError(NOTHING_USABLE)
    return ManagedIdentityProof(tokens, identity.exchange_audience)
