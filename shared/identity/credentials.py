"""Outbound credentials: an API key, or tokens of the app's own Entra identity.

Which identity is decided by settings, never by trying one after the other: in Azure the
configured managed identity, on a developer's machine the signed-in Azure CLI.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING, Protocol

from ..config import IdentitySettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

log = logging.getLogger(__name__)

FOUNDRY_SCOPE = "https://ai.azure.com/.default"
"""Audience of the Foundry data plane, as `azure-ai-projects` uses it."""

REFRESH_AHEAD_SECONDS = 300
"""A token is replaced this long before it expires, as azure-identity does."""


class Credential(Protocol):
    """Something that authenticates requests to Foundry."""

    async def headers(self) -> dict[str, str]:
        """The request headers that carry the credential."""
        ...

    async def aclose(self) -> None:
        """Release what the credential holds."""
        ...


class ApiKeyCredential:
    """An API key, sent as it is."""

    def __init__(self, api_key: str) -> None:
        self._headers = {"api-key": api_key}

    async def headers(self) -> dict[str, str]:
        """The `api-key` header."""
        return self._headers

    async def aclose(self) -> None:
        """Nothing to release."""


class EntraCredential:
    """Bearer tokens for one scope, fetched once however many requests wait for them."""

    def __init__(self, tokens: AsyncTokenCredential, scope: str = FOUNDRY_SCOPE) -> None:
        self._tokens = tokens
        self._scope = scope
        self._expires_on = 0
        self._headers: dict[str, str] = {}
        self._refresh = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """The `Authorization` header.

        Raises:
            azure.core.exceptions.ClientAuthenticationError: if no token can be had.
        """
        if self._is_fresh():
            return self._headers
        async with self._refresh:
            if not self._is_fresh():
                await self._fetch()
        return self._headers

    def _is_fresh(self) -> bool:
        return self._expires_on - time.time() > REFRESH_AHEAD_SECONDS

    async def _fetch(self) -> None:
        token = await self._tokens.get_token(self._scope)
        self._expires_on = token.expires_on
        self._headers = {"Authorization": f"Bearer {token.token}"}

    async def aclose(self) -> None:
        """Close the connections of the token source."""
        await self._tokens.close()


def token_credential(settings: IdentitySettings) -> AsyncTokenCredential | None:
    """The identity that the environment offers, or None where there is none.

    azure-identity is imported here because it costs 0.2 s and not every configuration needs it.
    """
    if settings.managed_identity_endpoint:
        from azure.identity.aio import ManagedIdentityCredential

        log.info("Signing in as the managed identity %s", settings.client_id or "of the system")
        return ManagedIdentityCredential(client_id=settings.client_id or None)
    if shutil.which("az"):
        from azure.identity.aio import AzureCliCredential

        log.info("Signing in as the developer known to the Azure CLI")
        return AzureCliCredential(tenant_id=settings.tenant_id)
    return None
