"""The agent identity exchange, leg by leg, cold, warm, and when Entra misbehaves."""

import asyncio
import logging
import re
from pathlib import Path
from urllib.parse import parse_qsl

import jwt
import pytest
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential
from cryptography.x509 import load_pem_x509_certificate

from local.processes import free_port
from shared.identity.aadsts import FIXES
from shared.identity.agent_identity import AgentIdentity, AgentIdentityCredential
from shared.identity.blueprint import CertificateProof, ManagedIdentityProof, SecretProof
from shared.identity.errors import CredentialSettingsError, ExchangeError, IdentityError, Leg
from shared.identity.token_endpoint import TokenEndpoint
from tests.support.authority import Certificate
from tests.support.fake_entra import (
    AGENT,
    BLUEPRINT,
    CORRELATION_ID,
    LEG_1,
    LEG_2,
    MANAGED,
    MANAGED_IDENTITY,
    TENANT,
    Answer,
    FakeEntra,
    FakeTime,
    refusal,
)
from tests.support.waiting import eventually

from .conftest import MakeEndpoint

SCOPE = "https://ai.azure.com/.default"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

FIRST_LEG = (
    b"grant_type=client_credentials"
    b"&client_id=22222222-2222-4222-8222-222222222222"
    b"&scope=api%3A%2F%2FAzureADTokenExchange%2F.default"
    b"&fmi_path=33333333-3333-4333-8333-333333333333"
    b"&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    b"&client_assertion=managed-identity-token-1"
)
SECOND_LEG = (
    b"grant_type=client_credentials"
    b"&client_id=33333333-3333-4333-8333-333333333333"
    b"&scope=https%3A%2F%2Fai.azure.com%2F.default"
    b"&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    b"&client_assertion=leg-1-token-2"
)


def counts(entra: FakeEntra) -> tuple[int, int, int]:
    return entra.requests(MANAGED), entra.requests(LEG_1), entra.requests(LEG_2)


async def test_both_legs_are_byte_for_byte_what_the_documentation_says(
    entra: FakeEntra, credential: AgentIdentityCredential, clock: FakeTime
) -> None:
    assert isinstance(credential, AsyncTokenCredential)
    assert isinstance(credential, AsyncSupportsTokenInfo)
    token = await credential.get_token(SCOPE)
    assert token.token == "leg-2-token-3"
    assert token.expires_on == int(clock.now) + 3_600
    assert dict(parse_qsl(entra.bodies[MANAGED][0].decode())) == {
        "api-version": "2019-08-01",
        "resource": "api://AzureADTokenExchange",
        "client_id": MANAGED_IDENTITY,
    }
    assert entra.bodies[LEG_1] == [FIRST_LEG]
    assert entra.bodies[LEG_2] == [SECOND_LEG]
    for leg in (LEG_1, LEG_2):
        (headers,) = entra.headers[leg]
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert GUID.fullmatch(headers["client-request-id"])


async def test_two_hundred_cold_calls_are_one_request_a_leg(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    tokens = await asyncio.gather(*(credential.get_token(SCOPE) for _ in range(200)))
    assert len({token.token for token in tokens}) == 1
    assert counts(entra) == (1, 1, 1)


async def test_a_second_resource_shares_the_blueprints_token(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    other = "https://vault.azure.net/.default"
    calls = [credential.get_token(scope) for scope in (SCOPE, other) for _ in range(100)]
    tokens = await asyncio.gather(*calls)
    assert len({token.token for token in tokens}) == 2
    assert counts(entra) == (1, 1, 2)


async def test_a_caller_who_leaves_does_not_end_the_fetch_of_the_others(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    entra.gate.clear()
    first, second = (asyncio.create_task(credential.get_token(SCOPE)) for _ in range(2))
    await eventually(lambda: entra.requests(MANAGED))
    first.cancel()
    entra.gate.set()
    assert (await second).token == "leg-2-token-3"
    assert first.cancelled()
    assert counts(entra) == (1, 1, 1)


async def test_a_token_past_half_its_life_is_renewed_while_the_old_one_serves(
    entra: FakeEntra, credential: AgentIdentityCredential, clock: FakeTime
) -> None:
    first = await credential.get_token_info(SCOPE)
    clock.advance(1_799)
    assert (await credential.get_token_info(SCOPE)).token == first.token
    assert counts(entra) == (1, 1, 1)
    clock.advance(1)
    entra.gate.clear()
    during = await asyncio.gather(*(credential.get_token_info(SCOPE) for _ in range(100)))
    assert {token.token for token in during} == {first.token}
    await eventually(lambda: entra.requests(LEG_2) == 2)
    entra.gate.set()
    await eventually_renewed(credential, first.token)
    assert entra.requests(LEG_2) == 2


async def test_the_issuers_word_on_when_to_renew_counts(
    entra: FakeEntra, credential: AgentIdentityCredential, clock: FakeTime
) -> None:
    entra.lifetimes.refresh_in = 600
    first = await credential.get_token_info(SCOPE)
    assert first.refresh_on == int(clock.now) + 600
    clock.advance(601)
    await eventually_renewed(credential, first.token)


BROKEN = {
    "503": Answer(503, {"error": "temporarily_unavailable"}),
    "500 of a proxy": Answer(500, "<html>"),
    "400": refusal(700024, status=400),
    "401": refusal(7000215),
    "no token": Answer(200, {"token_type": "Bearer"}),
}


@pytest.mark.parametrize("leg", [LEG_1, LEG_2])
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_the_old_token_serves_while_its_renewal_fails(
    entra: FakeEntra,
    credential: AgentIdentityCredential,
    clock: FakeTime,
    caplog: pytest.LogCaptureFixture,
    leg: str,
    answer: Answer,
) -> None:
    entra.lifetimes.t1 = 1_900
    first = await credential.get_token(SCOPE)
    clock.advance(2_000)
    before = entra.requests(leg)
    entra.answers[leg] = [answer] * 3
    assert (await credential.get_token(SCOPE)).token == first.token
    await eventually(lambda: "could not be renewed" in caplog.text)
    assert (await credential.get_token(SCOPE)).token == first.token
    attempts = 3 if answer.status >= 500 else 1
    assert entra.requests(leg) - before == attempts
    entra.answers.clear()
    clock.advance(31)
    await eventually_renewed(credential, first.token)


async def test_an_expired_token_is_never_served(
    entra: FakeEntra, credential: AgentIdentityCredential, clock: FakeTime
) -> None:
    first = await credential.get_token(SCOPE)
    clock.advance(3_600)
    entra.answers[LEG_2] = [refusal(53003)]
    with pytest.raises(ExchangeError) as caught:
        await credential.get_token(SCOPE)
    assert caught.value.aadsts == 53003
    second = await credential.get_token(SCOPE)
    assert second.token != first.token
    assert second.expires_on == int(clock.now) + 3_600


async def test_a_passing_fault_of_entra_is_not_the_callers(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    entra.answers[LEG_1] = [Answer(503, {}), Answer(429, {})]
    assert (await credential.get_token(SCOPE)).token
    assert counts(entra) == (1, 3, 1)


async def test_a_refused_t1_is_not_shown_again(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    entra.answers[LEG_2] = [refusal(700024)]
    with pytest.raises(ExchangeError):
        await credential.get_token(SCOPE)
    await credential.get_token(SCOPE)
    shown = [entra.form(LEG_2, number)["client_assertion"] for number in range(2)]
    assert len(set(shown)) == 2


async def test_a_claims_challenge_gets_a_new_token_once_for_all_who_met_it(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    first = await credential.get_token(SCOPE)
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    tokens = await asyncio.gather(*(credential.get_token(SCOPE, claims=claims) for _ in range(50)))
    assert {token.token for token in tokens} != {first.token}
    assert len({token.token for token in tokens}) == 1
    assert entra.requests(LEG_2) == 2
    assert entra.form(LEG_2)["claims"] == claims
    assert "claims" not in entra.form(LEG_1)
    assert (await credential.get_token(SCOPE)).token == tokens[0].token
    assert entra.requests(LEG_2) == 2


async def test_another_tenant_is_refused_before_any_request(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    with pytest.raises(IdentityError, match="own tenant"):
        await credential.get_token(SCOPE, tenant_id=BLUEPRINT)
    assert (await credential.get_token(SCOPE, tenant_id=TENANT.upper())).token
    assert counts(entra) == (1, 1, 1)


async def test_the_wrong_tenant_in_the_settings_is_named(
    entra: FakeEntra, endpoint_in: MakeEndpoint, proof: ManagedIdentityProof
) -> None:
    identity = AgentIdentity(AGENT, BLUEPRINT, AGENT)
    async with AgentIdentityCredential(identity, proof, endpoint_in(AGENT)) as credential:
        with pytest.raises(ExchangeError) as caught:
            await credential.get_token(SCOPE)
    assert (caught.value.leg, caught.value.aadsts) == (Leg.BLUEPRINT, 700211)
    assert "AZURE_TENANT_ID" in caught.value.message
    assert entra.requests(LEG_2) == 0


@pytest.mark.parametrize("scopes", [(), (SCOPE, SCOPE), ("https://ai.azure.com",), ("User.Read",)])
async def test_only_one_default_scope_is_taken(
    entra: FakeEntra, credential: AgentIdentityCredential, scopes: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="exactly one scope"):
        await credential.get_token(*scopes)
    assert counts(entra) == (0, 0, 0)


@pytest.mark.parametrize("wrong", ["", " ", "support-agent", f"{AGENT} ", f"{AGENT}\n", AGENT[1:]])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_guid_is_refused_before_any_request(wrong: str, place: int) -> None:
    names = ("AZURE_TENANT_ID", "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID")
    ids = [TENANT, BLUEPRINT, AGENT]
    ids[place] = wrong
    with pytest.raises(CredentialSettingsError) as caught:
        AgentIdentity(*ids)
    assert (*names, "FOUNDRY_AGENT_IDENTITY_CLIENT_ID")[place] in str(caught.value)


@pytest.mark.parametrize("code", FIXES)
@pytest.mark.parametrize("leg", [LEG_1, LEG_2])
async def test_every_error_of_the_table_names_its_leg_code_correlation_id_and_fix(
    entra: FakeEntra, credential: AgentIdentityCredential, leg: str, code: int
) -> None:
    entra.answers[leg] = [refusal(code)]
    with pytest.raises(ExchangeError) as caught:
        await credential.get_token(SCOPE)
    error = caught.value
    assert (error.leg, error.aadsts, error.correlation_id) == (
        Leg.BLUEPRINT if leg == LEG_1 else Leg.AGENT,
        code,
        CORRELATION_ID,
    )
    for part in (leg.capitalize(), f"AADSTS{code}", CORRELATION_ID, FIXES[code]):
        assert part in error.message


def test_the_table_has_every_code_of_the_exchange() -> None:
    assert set(FIXES) == {
        *(82001, 82002, 700211, 700213, 7002137, 7002138, 70021, 700231, 700024, 700016),
        *(7000215, 7000216, 9002324, 1002012, 70011, 50013, 65001, 500011, 53003, 50196),
    }


async def test_a_code_in_prose_is_found_too(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    entra.answers[LEG_1] = [
        Answer(400, {"error": "invalid_client", "error_description": "AADSTS53003: Blocked."})
    ]
    with pytest.raises(ExchangeError, match="Conditional Access"):
        await credential.get_token(SCOPE)


async def test_a_managed_identity_that_gives_nothing_is_leg_0(
    entra: FakeEntra, credential: AgentIdentityCredential
) -> None:
    entra.answers[MANAGED] = [Answer(400, {"statusCode": 400, "message": "no such identity"})]
    with pytest.raises(ExchangeError, match=r"Leg 0 .*no such identity.*AZURE_CLIENT_ID"):
        await credential.get_token(SCOPE)


async def test_a_token_endpoint_that_is_not_there_is_a_passing_fault(
    entra: FakeEntra, proof: ManagedIdentityProof
) -> None:
    identity = AgentIdentity(TENANT, BLUEPRINT, AGENT)
    nowhere = TokenEndpoint(f"https://localhost:{free_port()}", TENANT)
    async with AgentIdentityCredential(identity, proof, nowhere) as credential:
        with pytest.raises(ExchangeError, match="cannot be reached") as caught:
            await credential.get_token(SCOPE)
    assert caught.value.transient
    assert entra.requests(LEG_1) == 0


async def test_a_secret_takes_the_place_of_the_assertion(
    entra: FakeEntra, endpoint_in: MakeEndpoint
) -> None:
    entra.secret = "a-secret-of-the-blueprint"
    identity = AgentIdentity(TENANT, BLUEPRINT, AGENT)
    proof = SecretProof(entra.secret)
    async with AgentIdentityCredential(identity, proof, endpoint_in(TENANT)) as credential:
        await credential.get_token(SCOPE)
    form = entra.form(LEG_1)
    assert form["client_secret"] == entra.secret
    assert not {"client_assertion", "client_assertion_type"} & form.keys()


async def test_a_certificate_signs_the_assertion(
    entra: FakeEntra, endpoint_in: MakeEndpoint, certificate: Certificate
) -> None:
    endpoint = endpoint_in(TENANT)
    proof = CertificateProof(certificate.combined_path, BLUEPRINT, endpoint.url)
    identity = AgentIdentity(TENANT, BLUEPRINT, AGENT)
    async with AgentIdentityCredential(identity, proof, endpoint) as credential:
        await credential.get_token(SCOPE)
    assertion = entra.form(LEG_1)["client_assertion"]
    key = load_pem_x509_certificate(certificate.path.read_bytes()).public_key()
    claims = jwt.decode(
        assertion,
        key,  # pyright: ignore[reportArgumentType] - it is an RSA key
        ["PS256"],
        audience=f"{entra.authority}/{TENANT}/oauth2/v2.0/token",
    )
    assert (claims["iss"], claims["sub"]) == (BLUEPRINT, BLUEPRINT)
    assert claims["exp"] - claims["nbf"] == 600
    assert len(jwt.get_unverified_header(assertion)["x5t#S256"]) == 43


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nx"])
async def test_a_certificate_that_cannot_be_read_is_named(
    entra: FakeEntra, endpoint_in: MakeEndpoint, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "blueprint.pem"
    if content is not None:
        path.write_bytes(content)
    proof = CertificateProof(path, BLUEPRINT, "audience")
    identity = AgentIdentity(TENANT, BLUEPRINT, AGENT)
    async with AgentIdentityCredential(identity, proof, endpoint_in(TENANT)) as credential:
        with pytest.raises(ExchangeError, match="CERTIFICATE_PATH"):
            await credential.get_token(SCOPE)
    assert entra.requests(LEG_1) == 0


async def test_nothing_secret_is_logged_or_told(
    entra: FakeEntra, credential: AgentIdentityCredential, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    entra.prefix = "SECRET" * 8
    assertion = "SECRET" * 8 + "managed-identity-token-1"
    entra.answers[LEG_1] = [
        Answer(
            400,
            {
                "error": "invalid_request",
                "error_description": f"AADSTS50027: bad token {assertion} here",
                "error_codes": [50027],
            },
        )
    ]
    with pytest.raises(ExchangeError) as caught:
        await credential.get_token(SCOPE)
    await credential.get_token(SCOPE)
    said = f"{caplog.text} {caught.value} {caught.value!r} {caught.value.message}"
    assert "bad token" in said
    assert "SECRET" not in said


async def eventually_renewed(credential: AgentIdentityCredential, old: str) -> None:
    async def renewed() -> bool:
        return (await credential.get_token(SCOPE)).token != old

    await eventually(renewed)
