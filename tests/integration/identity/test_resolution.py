"""Which credential settings lead to, and what they are told when they lead to none."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import ServiceRequestError
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

from shared.config import FoundryAgentServiceConfig, IdentitySettings, SettingsError
from shared.foundry import ConfigurationError, FoundryAgentServiceClient
from shared.identity.credentials import (
    FOUNDRY_SCOPE,
    ApiKeyCredential,
    EntraCredential,
    claims_challenge,
)
from shared.identity.errors import CredentialSettingsError, IdentityError
from shared.identity.resolution import (
    CredentialKind,
    choose_credential,
    resolve_credential,
    token_credential,
)
from tests.support.fake_entra import (
    AGENT,
    BLUEPRINT,
    MANAGED,
    MANAGED_IDENTITY,
    TENANT,
    FakeEntra,
    FakeTime,
)
from tests.support.waiting import eventually

KEY = FoundryAgentServiceConfig(api_key="a-key")
NO_KEY = FoundryAgentServiceConfig()
AGENT_SETTINGS: dict[str, Any] = {
    "tenant_id": TENANT,
    "agent_blueprint_client_id": BLUEPRINT,
    "agent_identity_client_id": AGENT,
}
IN_AZURE: dict[str, Any] = {"managed_identity_endpoint": "http://127.0.0.1:9/msi/token"}


@pytest.fixture
def no_cli(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the Azure CLI."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with the Azure CLI."""
    command = tmp_path / "az"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


CHOICES = {
    "a key comes first": (KEY, {**AGENT_SETTINGS, **IN_AZURE}, CredentialKind.API_KEY, None),
    "an agent identity": (
        NO_KEY,
        {**AGENT_SETTINGS, **IN_AZURE, "client_id": MANAGED_IDENTITY},
        CredentialKind.AGENT_IDENTITY,
        AGENT,
    ),
    "one with a secret": (
        NO_KEY,
        {**AGENT_SETTINGS, "agent_blueprint_secret": "s"},
        CredentialKind.AGENT_IDENTITY,
        AGENT,
    ),
    "the configured managed identity": (
        NO_KEY,
        {**IN_AZURE, "client_id": MANAGED_IDENTITY},
        CredentialKind.MANAGED_IDENTITY,
        MANAGED_IDENTITY,
    ),
    "the system's managed identity": (NO_KEY, IN_AZURE, CredentialKind.MANAGED_IDENTITY, None),
}


@pytest.mark.parametrize(
    ("foundry", "identity", "kind", "client_id"), CHOICES.values(), ids=CHOICES
)
def test_settings_decide(
    no_cli: None,
    foundry: FoundryAgentServiceConfig,
    identity: dict[str, Any],
    kind: CredentialKind,
    client_id: str | None,
) -> None:
    choice = choose_credential(foundry, IdentitySettings(**identity))
    assert (choice.kind, choice.client_id) == (kind, client_id)
    assert str(choice).startswith(kind)
    assert "because" in str(choice)


def test_on_a_machine_it_is_the_developer_of_the_azure_cli(cli: None) -> None:
    choice = choose_credential(NO_KEY, IdentitySettings())
    assert choice.kind is CredentialKind.DEVELOPER


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing at all": ({}, "API key not configured"),
    "an agent without its blueprint": (
        {**IN_AZURE, **AGENT_SETTINGS, "agent_blueprint_client_id": ""},
        "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID",
    ),
    "a blueprint without an agent": (
        {**IN_AZURE, **AGENT_SETTINGS, "agent_identity_client_id": ""},
        "FOUNDRY_AGENT_IDENTITY_CLIENT_ID",
    ),
    "an agent without its tenant": (
        {**IN_AZURE, **AGENT_SETTINGS, "tenant_id": "contoso.example"},
        "AZURE_TENANT_ID",
    ),
    "a blueprint without a proof": (AGENT_SETTINGS, "CERTIFICATE_PATH"),
    "a secret in Azure": ({**IN_AZURE, **AGENT_SETTINGS, "agent_blueprint_secret": "s"}, "SECRET"),
    "two proofs": (
        {**AGENT_SETTINGS, "agent_blueprint_secret": "s", "agent_blueprint_certificate": "c"},
        "keep one",
    ),
}


@pytest.mark.parametrize(("identity", "named"), REFUSED.values(), ids=REFUSED)
def test_settings_that_cannot_work_are_named_and_nothing_else_is_tried(
    no_cli: None, identity: dict[str, Any], named: str
) -> None:
    settings = IdentitySettings(**identity)
    with pytest.raises(CredentialSettingsError, match=named):
        resolve_credential(NO_KEY, settings)
    with pytest.raises(CredentialSettingsError, match=named):
        choose_credential(NO_KEY, settings)


def test_entra_switched_off_leaves_only_the_key(cli: None) -> None:
    off = FoundryAgentServiceConfig(enable_entra_agent_id=False)
    with pytest.raises(CredentialSettingsError, match="API key not configured"):
        choose_credential(off, IdentitySettings(**IN_AZURE))


@pytest.mark.parametrize(
    "name", ["FOUNDRY_AGENT_IDENTITY_CLIENT_ID", "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID"]
)
def test_ids_that_are_no_guids_stop_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        IdentitySettings.from_env({name: "support-agent"})


def test_an_authority_without_tls_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="AZURE_AUTHORITY_HOST"):
        IdentitySettings.from_env({"AZURE_AUTHORITY_HOST": "http://localhost"})


async def test_the_client_library_says_the_documented_words(no_cli: None) -> None:
    url = "https://acme.services.ai.azure.com/openai/v1"
    config = FoundryAgentServiceConfig(endpoint_url=url)
    client = FoundryAgentServiceClient(config, identity=IdentitySettings())
    with pytest.raises(ConfigurationError, match="Foundry Agent Service API key not configured"):
        await client.initialize()


@pytest.mark.parametrize(
    ("identity", "kind"),
    [(IN_AZURE, ManagedIdentityCredential), ({}, AzureCliCredential)],
)
async def test_the_apps_own_identity_for_storage(
    cli: None, monkeypatch: pytest.MonkeyPatch, identity: dict[str, Any], kind: type[object]
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    tokens = token_credential(IdentitySettings(**identity))
    assert isinstance(tokens, kind)
    await tokens.close()


def test_a_machine_that_offers_nothing_has_no_identity(no_cli: None) -> None:
    assert token_credential(IdentitySettings()) is None


class Tokens:
    """A source of numbered tokens."""

    def __init__(self, clock: FakeTime) -> None:
        self.asked: list[tuple[tuple[str, ...], str | None]] = []
        self.failing = False
        self.refresh_in: int | None = None
        self.closed = False
        self._clock = clock

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        self.asked.append((scopes, (options or {}).get("claims")))
        await asyncio.sleep(0)
        if self.failing:
            raise ServiceRequestError("no route")
        now = int(self._clock())
        refresh_on = now + self.refresh_in if self.refresh_in else None
        return AccessTokenInfo(f"token-{len(self.asked)}", now + 3_600, refresh_on=refresh_on)

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> "Tokens":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


@pytest.fixture
def tokens(clock: FakeTime) -> Tokens:
    return Tokens(clock)


@pytest.fixture
async def bearer(tokens: Tokens, clock: FakeTime) -> AsyncIterator[EntraCredential]:
    credential = EntraCredential(tokens, clock=clock)
    yield credential
    await credential.aclose()
    assert tokens.closed


async def test_an_api_key_is_sent_as_it_is() -> None:
    credential = ApiKeyCredential("a-key")
    assert await credential.headers() == {"api-key": "a-key"}
    assert "a-key" not in repr(credential)
    await credential.aclose()


async def test_fifty_requests_share_one_token(bearer: EntraCredential, tokens: Tokens) -> None:
    headers = await asyncio.gather(*(bearer.headers() for _ in range(50)))
    assert tokens.asked == [((FOUNDRY_SCOPE,), None)]
    assert headers == [{"Authorization": "Bearer token-1"}] * 50


async def test_a_token_serves_while_its_renewal_fails(
    bearer: EntraCredential, tokens: Tokens, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    await bearer.headers()
    tokens.failing = True
    clock.advance(1_801)
    for _ in range(20):
        assert await bearer.headers() == {"Authorization": "Bearer token-1"}
    await eventually(lambda: "no route" in caplog.text)
    assert len(tokens.asked) == 2
    clock.advance(1_800)
    with pytest.raises(IdentityError, match=r"no route.*az login"):
        await bearer.headers()
    tokens.failing = False
    assert await bearer.headers() == {"Authorization": "Bearer token-4"}


async def test_the_source_says_when_to_renew(
    bearer: EntraCredential, tokens: Tokens, clock: FakeTime
) -> None:
    tokens.refresh_in = 600
    first = await bearer.headers()
    clock.advance(599)
    assert await bearer.headers() == first
    assert len(tokens.asked) == 1
    clock.advance(1)

    async def renewed() -> bool:
        return await bearer.headers() != first

    await eventually(renewed)
    assert len(tokens.asked) == 2


async def test_claims_reach_the_source(bearer: EntraCredential, tokens: Tokens) -> None:
    await bearer.headers()
    assert await bearer.headers("{}") == {"Authorization": "Bearer token-2"}
    assert tokens.asked[1] == ((FOUNDRY_SCOPE,), "{}")


async def test_a_managed_identity_is_used_as_it_is(entra: FakeEntra) -> None:
    settings = IdentitySettings(
        client_id=MANAGED_IDENTITY, managed_identity_endpoint=entra.identity_endpoint
    )
    credential = resolve_credential(NO_KEY, settings)
    headers = await asyncio.gather(*(credential.headers() for _ in range(200)))
    assert {header["Authorization"] for header in headers} == {"Bearer managed-identity-token-1"}
    assert entra.requests(MANAGED) == 1
    await credential.aclose()


CHALLENGE = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ("", None),
        ('Bearer realm=""', None),
        ('Bearer error="insufficient_claims"', None),
        ('Bearer error="insufficient_claims", claims="%%%"', None),
        ('Bearer error="insufficient_claims", claims="/w=="', None),
        ('Bearer error="invalid_token", claims="e30="', None),
        ('Bearer realm="", error="insufficient_claims", claims="e30"', "{}"),
        (
            'Bearer error="insufficient_claims",claims="'
            + base64.b64encode(CHALLENGE.encode()).decode()
            + '"',
            CHALLENGE,
        ),
    ],
)
def test_a_claims_challenge_is_read(header: str, claims: str | None) -> None:
    assert claims_challenge(header) == claims
