"""The credentials of requests to Azure and models: an API key, or tokens of an Entra identity."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from azure.core.exceptions import AzureError

from .errors import IdentityError, first_line
from .token_slot import TokenSlot

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
    from azure.core.credentials_async import AsyncSupportsTokenInfo

FOUNDRY_SCOPE = "https://ai.azure.com/.default"
"""Scope of the Foundry data plane, as in `azure-ai-projects`."""

_CLAIMS = re.compile(r'(?:^|[\s,])claims="([^"]+)"', re.IGNORECASE)


class Credential(Protocol):
    """Authenticates requests to one service."""

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        """The request headers that carry the credential.

        ``claims`` are those that Foundry requires, as `claims_challenge` returned them.

        Raises:
            IdentityError: if no credential can be obtained.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class ApiKeyCredential:
    """An API key."""

    def __init__(self, api_key: str) -> None:
        self._headers = {"api-key": api_key}

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        """The `api-key` header."""
        return self._headers

    async def aclose(self) -> None:
        """Nothing to release."""


class EntraCredential:
    """Bearer tokens for one scope; concurrent requests share one token request."""

    def __init__(
        self,
        tokens: AsyncSupportsTokenInfo,
        scope: str = FOUNDRY_SCOPE,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._scope = scope
        self._slot = TokenSlot(self._fetch, clock)

    async def headers(self, claims: str | None = None) -> dict[str, str]:
        """The `Authorization` header; see `Credential.headers`."""
        token = await self._slot.get(claims)
        return {"Authorization": f"Bearer {token.token}"}

    async def _fetch(self, claims: str | None) -> AccessTokenInfo:
        options: TokenRequestOptions = {"claims": claims} if claims else {}
        try:
            return await self._tokens.get_token_info(self._scope, options=options)
        except IdentityError:
            raise
        except AzureError as error:
            raise IdentityError(
                f"No Entra token could be obtained: {first_line(error).rstrip('.')}. Check that "
                "the app's managed identity exists (AZURE_CLIENT_ID), or sign in with 'az login'."
            ) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._slot.aclose()
        await self._tokens.close()


def claims_challenge(www_authenticate: str) -> str | None:
    """The claims that a 401 response requires, as decoded JSON text; None if it requires none.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    if "insufficient_claims" not in www_authenticate:
        return None
    if not (match := _CLAIMS.search(www_authenticate)):
        return None
    encoded = match[1].replace("-", "+").replace("_", "/")
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        return base64.b64decode(padded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
