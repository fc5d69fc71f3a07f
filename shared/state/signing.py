"""What authorizes a request to Azure Storage: the account's key, a signature, or an Entra token.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key,
https://learn.microsoft.com/rest/api/storageservices/delegate-access-with-shared-access-signature
and https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

STORAGE_SCOPE = "https://storage.azure.com/.default"
"""Scope of the tokens that every storage account accepts."""


@dataclass(frozen=True, slots=True)
class StorageRequest:
    """One request to a storage service."""

    method: str
    path: str
    """The path below the endpoint, encoded as it is sent."""
    headers: Mapping[str, str]
    body: bytes = b""
    query: Mapping[str, str | int] = field(default_factory=dict[str, "str | int"])


class Authorization(Protocol):
    """Authorizes requests to one service."""

    query: str
    """Parameters that belong into every URL."""

    async def headers(self, request: StorageRequest, path: str) -> Mapping[str, str]:
        """The headers that authorize a request, given the whole path of its URL.

        Raises:
            AzureError: if no token can be obtained.
        """
        ...


TextToSign = Callable[[StorageRequest, str], str]
"""The text that a signature signs, given the canonical name of the resource."""


def table_text(request: StorageRequest, resource: str) -> str:
    """What Table Storage expects to be signed; queries with `comp` are not sent."""
    headers = request.headers
    content_type = headers.get("Content-Type", "")
    return f"{request.method}\n\n{content_type}\n{headers['x-ms-date']}\n{resource}"


def queue_text(request: StorageRequest, resource: str) -> str:
    """What Queue Storage expects to be signed, without the conditions that are not sent."""
    headers = request.headers
    own = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
    lines = [
        request.method,
        *("", ""),  # encoding, language
        str(len(request.body) or ""),
        "",  # MD5
        headers.get("Content-Type", ""),
        *("", "", "", "", "", ""),  # date, conditions, range
        *(f"{name}:{value}" for name, value in own),
        resource,
        *(f"{name}:{unquote(str(value))}" for name, value in sorted(request.query.items())),
    ]
    return "\n".join(lines)


class SharedKey:
    """The key of the account signs each request."""

    query = ""

    def __init__(self, account: str, key: str, text: TextToSign) -> None:
        self._account = account
        self._key = b64decode(key)
        self._text = text

    async def headers(self, request: StorageRequest, path: str) -> Mapping[str, str]:
        """See `Authorization.headers`."""
        text = self._text(request, f"/{self._account}{path}")
        signature = b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()
        return {"Authorization": f"SharedKey {self._account}:{signature}"}


class SharedAccessSignature:
    """A signature that was made beforehand is part of each URL."""

    def __init__(self, signature: str) -> None:
        self.query = signature.removeprefix("?")

    async def headers(self, request: StorageRequest, path: str) -> Mapping[str, str]:
        """No header is needed."""
        return {}


class Bearer(Protocol):
    """Gets tokens of an identity for `STORAGE_SCOPE`, and renews them in time."""

    async def headers(self) -> Mapping[str, str]:
        """The header that carries the token.

        Raises:
            AzureError: if no token can be obtained.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, slots=True)
class SignIn:
    """The app's identity, which signs in where there is no connection string."""

    tokens: AsyncTokenCredential
    """For requests through the Azure libraries."""
    bearer: Bearer
    """For all other requests; closing it closes ``tokens``."""


class EntraToken:
    """A token of the app's identity is sent with each request."""

    query = ""

    def __init__(self, bearer: Bearer) -> None:
        self._bearer = bearer

    async def headers(self, request: StorageRequest, path: str) -> Mapping[str, str]:
        """See `Authorization.headers`."""
        return await self._bearer.headers()
