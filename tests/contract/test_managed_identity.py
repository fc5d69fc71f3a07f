"""azure-identity gets its tokens from the emulator's managed-identity endpoint."""

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential

from .conftest import Emulator, turn


@pytest.fixture
def identity(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{emulator.origin}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "local-identity")
    return emulator


async def test_its_token_opens_the_project(identity: Emulator) -> None:
    async with ManagedIdentityCredential() as credential:
        token = await credential.get_token("https://ai.azure.com/.default")
        again = await credential.get_token("https://ai.azure.com/.default")
    assert again.token == token.token
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token.token}"}) as client:
        answer = await client.post(f"{identity.openai}/responses", json=turn("hi"))
        assert answer.status_code == 200
        log = (await client.get(f"{identity.origin}/_emulator/requests?operation=msi.token")).json()
    assert len(log["requests"]) == 1


async def test_another_audience_does_not(identity: Emulator) -> None:
    async with ManagedIdentityCredential(client_id="some-client") as credential:
        token = await credential.get_token("https://cognitiveservices.azure.com/.default")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token.token}"}) as client:
        refused = await client.get(f"{identity.openai}/conversations")
        resource = await client.get(f"{identity.origin}/openai/v1/models")
    assert refused.status_code == 401
    assert "error" not in refused.json()
    assert resource.status_code == 200


async def test_a_wrong_header_gets_no_token(
    identity: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with ManagedIdentityCredential() as credential:
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token("https://ai.azure.com/.default")
