"""Tokens: fetched once, ahead of time, from the identity that settings choose."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

from shared.config import IdentitySettings
from shared.identity.credentials import (
    FOUNDRY_SCOPE,
    REFRESH_AHEAD_SECONDS,
    ApiKeyCredential,
    EntraCredential,
    token_credential,
)


class FakeTokens:
    """A source of numbered tokens."""

    def __init__(self, lifetime: float = 3600) -> None:
        self.lifetime = lifetime
        self.scopes: list[str] = []
        self.failures = 0
        self.closed = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.extend(scopes)
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ClientAuthenticationError("no token today")
        return AccessToken(f"token-{len(self.scopes)}", int(time.time() + self.lifetime))

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> FakeTokens:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


async def test_an_api_key_is_sent_as_it_is() -> None:
    credential = ApiKeyCredential("secret")
    assert await credential.headers() == {"api-key": "secret"}
    assert "secret" not in repr(credential)
    await credential.aclose()


async def test_fifty_requests_share_one_fetch() -> None:
    tokens = FakeTokens()
    credential = EntraCredential(tokens)
    headers = await asyncio.gather(*(credential.headers() for _ in range(50)))
    assert tokens.scopes == [FOUNDRY_SCOPE]
    assert all(header == {"Authorization": "Bearer token-1"} for header in headers)
    await credential.headers()
    assert len(tokens.scopes) == 1


async def test_a_token_is_replaced_before_it_expires() -> None:
    tokens = FakeTokens(lifetime=REFRESH_AHEAD_SECONDS - 10)
    credential = EntraCredential(tokens)
    assert await credential.headers() == {"Authorization": "Bearer token-1"}
    assert await credential.headers() == {"Authorization": "Bearer token-2"}


async def test_a_failure_is_told_and_not_kept() -> None:
    tokens = FakeTokens()
    tokens.failures = 1
    credential = EntraCredential(tokens)
    with pytest.raises(ClientAuthenticationError):
        await credential.headers()
    assert await credential.headers() == {"Authorization": "Bearer token-2"}


@pytest.mark.xfail(
    strict=True,
    raises=ClientAuthenticationError,
    reason="a refresh that fails ahead of time fails the request",
)
async def test_a_valid_token_serves_while_its_refresh_fails() -> None:
    tokens = FakeTokens(lifetime=REFRESH_AHEAD_SECONDS - 10)
    credential = EntraCredential(tokens)
    await credential.headers()
    tokens.failures = 1
    assert await credential.headers() == {"Authorization": "Bearer token-1"}


async def test_closing_closes_the_source() -> None:
    tokens = FakeTokens()
    await EntraCredential(tokens).aclose()
    assert tokens.closed


async def test_a_managed_identity_is_chosen_where_one_is_assigned(
    identity: IdentitySettings,
) -> None:
    credential = token_credential(identity)
    assert isinstance(credential, ManagedIdentityCredential)
    assert (await credential.get_token(FOUNDRY_SCOPE)).token == "a-token"
    await credential.close()


async def test_a_developer_signs_in_through_the_azure_cli(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bin")
    az = folder / "az"
    az.write_text("#!/bin/sh\n")
    az.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    credential = token_credential(IdentitySettings())
    assert isinstance(credential, AzureCliCredential)
    await credential.close()


def test_a_machine_that_offers_nothing_has_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert token_credential(IdentitySettings()) is None
