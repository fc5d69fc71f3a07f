"""`AgentIdentityCredential`: tokens of an Entra agent identity.

    leg 0   managed identity                -> assertion
    leg 1   blueprint, with the assertion   -> T1     (fmi_path names the agent identity)
    leg 2   agent identity, with T1         -> token for the resource

azure-identity has no such credential, so this module posts the forms of legs 1 and 2 itself.
https://learn.microsoft.com/entra/agent-id/identity-platform/agent-autonomous-app-oauth-flow
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

from ..config import GUID
from .blueprint import JWT_BEARER, BlueprintProof
from .errors import CredentialSettingsError, ExchangeError, IdentityError, Leg
from .token_endpoint import TokenEndpoint
from .token_slot import TokenSlot

_GUID = re.compile(GUID)
_DEFAULT = "/.default"


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """An agent identity, its blueprint, and the tenant of both.

    Raises:
        CredentialSettingsError: if an id is not a GUID. An empty agent id must be refused, because
            Entra would issue a token of the blueprint for it.
    """

    tenant_id: str
    blueprint_id: str
    agent_id: str

    def __post_init__(self) -> None:
        named = {
            "AZURE_TENANT_ID": self.tenant_id,
            "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID": self.blueprint_id,
            "FOUNDRY_AGENT_IDENTITY_CLIENT_ID": self.agent_id,
        }
        if wrong := [name for name, text in named.items() if not _GUID.fullmatch(text)]:
            raise CredentialSettingsError(
                f"An agent identity needs {', '.join(wrong)}: each must be a GUID "
                "(docs/identity.md says where to find it)"
            )


class AgentIdentityCredential:
    """An `AsyncTokenCredential` of azure-core that authenticates as an agent identity.

    It caches T1 and one token per scope. It belongs to one event loop; create one per process.
    """

    def __init__(
        self,
        identity: AgentIdentity,
        proof: BlueprintProof,
        endpoint: TokenEndpoint,
        *,
        exchange_audience: str = "api://AzureADTokenExchange",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self._proof = proof
        self._endpoint = endpoint
        self._exchange_scope = exchange_audience + _DEFAULT
        self._clock = clock
        self._t1 = TokenSlot(self._fetch_t1, clock)
        self._tokens: dict[str, TokenSlot] = {}

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Get a token for one scope, ``<resource>/.default``.

        With ``claims`` from a claims challenge in the options, a new token is fetched.

        Raises:
            IdentityError: if no token could be obtained, or another tenant was requested.
            ValueError: if there is not exactly one scope, or it does not end in ``/.default``.
        """
        given = options or {}
        tenant_id = given.get("tenant_id")
        if tenant_id and tenant_id.lower() != self.identity.tenant_id.lower():
            raise IdentityError(
                f"An agent identity gets tokens of its own tenant only, not of {tenant_id}."
            )
        return await self._slot(scopes).get(given.get("claims") or None)

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **_: Any,
    ) -> AccessToken:
        """Get a token in the older form of azure-core's protocol; see `get_token_info`."""
        options: TokenRequestOptions = {"enable_cae": enable_cae}
        if claims:
            options["claims"] = claims
        if tenant_id:
            options["tenant_id"] = tenant_id
        info = await self.get_token_info(*scopes, options=options)
        return AccessToken(info.token, info.expires_on)

    def _slot(self, scopes: tuple[str, ...]) -> TokenSlot:
        if len(scopes) != 1 or not scopes[0].endswith(_DEFAULT):
            raise ValueError("an agent identity takes exactly one scope, '<resource>/.default'")
        (scope,) = scopes
        if scope not in self._tokens:

            async def fetch(claims: str | None) -> AccessTokenInfo:
                return await self._fetch(scope, claims)

            self._tokens[scope] = TokenSlot(fetch, self._clock)
        return self._tokens[scope]

    async def _fetch_t1(self, _: str | None) -> AccessTokenInfo:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.identity.blueprint_id,
            "scope": self._exchange_scope,
            "fmi_path": self.identity.agent_id,
            **await self._proof.fields(),
        }
        return await self._endpoint.post(Leg.BLUEPRINT, form)

    async def _fetch(self, scope: str, claims: str | None) -> AccessTokenInfo:
        t1 = await self._t1.get()
        form = {
            "grant_type": "client_credentials",
            "client_id": self.identity.agent_id,
            "scope": scope,
            "client_assertion_type": JWT_BEARER,
            "client_assertion": t1.token,
        }
        if claims:
            form["claims"] = claims
        try:
            return await self._endpoint.post(Leg.AGENT, form)
        except ExchangeError as error:
            if not error.transient:
                self._t1.forget()  # Entra may have refused T1
            raise

    async def close(self) -> None:
        """Close all connections."""
        for slot in [*self._tokens.values(), self._t1]:
            await slot.aclose()
        await self._endpoint.aclose()
        await self._proof.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()
