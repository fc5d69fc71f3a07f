"""A tenant as new for each test, and the credential under test in it."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from httpx_aiohttp import AiohttpTransport

from shared.config import IdentitySettings
from shared.identity.agent_identity import AgentIdentity, AgentIdentityCredential
from shared.identity.blueprint import ManagedIdentityProof
from shared.identity.resolution import token_credential
from shared.identity.token_endpoint import TokenEndpoint
from tests.support.authority import Certificate, make_certificate
from tests.support.fake_entra import (
    AGENT,
    BLUEPRINT,
    EXCHANGE,
    IDENTITY_HEADER,
    MANAGED_IDENTITY,
    TENANT,
    FakeEntra,
    FakeTime,
)

MakeEndpoint = Callable[[str], TokenEndpoint]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What the fake presents and its callers trust."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="session")
async def running_entra(certificate: Certificate) -> AsyncIterator[FakeEntra]:
    """A tenant for all tests."""
    async with FakeEntra(certificate).running() as fake:
        yield fake


@pytest.fixture
def entra(
    running_entra: FakeEntra, clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeEntra]:
    """The tenant as new, and its managed identity assigned to this process."""
    running_entra.reset(clock)
    monkeypatch.setenv("IDENTITY_ENDPOINT", running_entra.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)
    yield running_entra
    running_entra.gate.set()


@pytest.fixture
def endpoint_in(entra: FakeEntra, clock: FakeTime) -> MakeEndpoint:
    """Makes the token endpoint of a tenant, trusting the fake's certificate."""
    trust = ssl.create_default_context(cafile=str(entra.certificate.path))

    def make(tenant_id: str) -> TokenEndpoint:
        http = AiohttpTransport(verify=trust)
        return TokenEndpoint(entra.authority, tenant_id, http=http, clock=clock)

    return make


@pytest.fixture
def proof(entra: FakeEntra) -> ManagedIdentityProof:
    """The managed identity that vouches for the blueprint."""
    settings = IdentitySettings(
        client_id=MANAGED_IDENTITY, managed_identity_endpoint=entra.identity_endpoint
    )
    tokens = token_credential(settings)
    assert tokens is not None
    return ManagedIdentityProof(tokens, EXCHANGE)


@pytest.fixture
async def credential(
    endpoint_in: MakeEndpoint, proof: ManagedIdentityProof, clock: FakeTime
) -> AsyncIterator[AgentIdentityCredential]:
    """The credential under test."""
    identity = AgentIdentity(TENANT, BLUEPRINT, AGENT)
    async with AgentIdentityCredential(identity, proof, endpoint_in(TENANT), clock=clock) as made:
        yield made
