"""How a blueprint authenticates to Entra (leg 0 of the agent identity exchange).

In Azure it uses a token of a managed identity, which its federated credential trusts. On a
developer's machine it uses a certificate or a secret.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from azure.core.exceptions import AzureError

from .errors import ExchangeError, Leg, first_line

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 600


class BlueprintProof(Protocol):
    """The credential of a blueprint."""

    async def fields(self) -> dict[str, str]:
        """The form fields that carry the proof.

        Raises:
            ExchangeError: for leg 0, if no proof can be obtained.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class ManagedIdentityProof:
    """A token of the app's managed identity."""

    def __init__(self, tokens: AsyncTokenCredential, audience: str) -> None:
        self._tokens = tokens
        self._scope = f"{audience}/.default"

    async def fields(self) -> dict[str, str]:
        """See `BlueprintProof.fields`."""
        try:
            token = await self._tokens.get_token(self._scope)
        except AzureError as error:
            reason = (
                f"no token of the managed identity ({first_line(error)}); check that it is "
                "assigned to the app, and that AZURE_CLIENT_ID is its client id"
            )
            raise ExchangeError(Leg.ASSERTION, reason) from error
        return {"client_assertion_type": JWT_BEARER, "client_assertion": token.token}

    async def aclose(self) -> None:
        """See `BlueprintProof.aclose`."""
        await self._tokens.close()


class SecretProof:
    """A secret of the blueprint."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def fields(self) -> dict[str, str]:
        """See `BlueprintProof.fields`."""
        return {"client_secret": self._secret}

    async def aclose(self) -> None:
        """Nothing to release."""


class CertificateProof:
    """A certificate of the blueprint, with its key.

    https://learn.microsoft.com/entra/identity-platform/certificate-credentials
    """

    def __init__(
        self, path: Path, blueprint_id: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._blueprint_id = blueprint_id
        self._audience = audience
        self._clock = clock

    async def fields(self) -> dict[str, str]:
        """See `BlueprintProof.fields`."""
        import jwt

        try:
            pem = await asyncio.to_thread(self._path.read_bytes)
            assertion = self._sign(pem)
        except (OSError, ValueError, TypeError, jwt.PyJWTError) as error:
            reason = (
                "FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH must name a PEM file with a certificate "
                "and its RSA key without a password"
            )
            raise ExchangeError(Leg.ASSERTION, reason) from error
        return {"client_assertion_type": JWT_BEARER, "client_assertion": assertion}

    def _sign(self, pem: bytes) -> str:
        import jwt
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509 import load_pem_x509_certificate
        from jwt.utils import base64url_encode

        thumbprint = load_pem_x509_certificate(pem).fingerprint(SHA256())
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError("the key is not an RSA key")
        now = int(self._clock())
        claims = {
            "aud": self._audience,
            "iss": self._blueprint_id,
            "sub": self._blueprint_id,
            "jti": str(uuid.uuid4()),
            "nbf": now,
            "exp": now + ASSERTION_SECONDS,
        }
        headers = {"x5t#S256": base64url_encode(thumbprint).decode()}
        return jwt.encode(claims, key, "PS256", headers)

    async def aclose(self) -> None:
        """Nothing to release."""
