"""A browser's session: who it is, and which of its requests are taken."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from shared.config import AccessSettings
from shared.http.client_keys import KeyVerifier
from shared.http.principal import Access, Principal, Role, authorized
from shared.problems import ProblemError
from shared.state.client_keys import ClientKeys
from tests.support.callers import (
    ACCESS,
    CLIENT,
    OWNER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    TENANT,
    Claim,
    claims_of,
    document,
    encoded,
)
from tests.support.fakes import FakeClock, FakeTable

OWN_CLIENT = "dddddddd-0000-4000-8000-000000000001"
OWN_PAGE = {"sec-fetch-site": "same-origin", "x-aos-console": "1"}
BEARER = {"authorization": "Bearer of-a-program"}


def settings(**more: str) -> dict[str, str]:
    audiences = f"{ACCESS['AUTH_AUDIENCES']},{OWN_CLIENT}"
    return {**ACCESS, "AUTH_MODE": "entra", "AUTH_AUDIENCES": audiences, **more}


def session_claims(*given: Claim, audience: str = OWN_CLIENT) -> list[Claim]:
    """What App Service says of a person who signed in to the app itself."""
    named = [c for c in claims_of(TENANT, OWNER) if c[0] not in {"azp", "aud"}]
    return [*named, ("aud", audience), *given]


USER = session_claims(("roles", Role.USE))


async def ask(
    claims: list[Claim],
    headers: dict[str, str],
    method: str = "POST",
    *,
    has_console: bool = True,
    **more: str,
) -> Principal:
    """The caller of a request, with its role checked; raises the problem of a refused one."""
    clock = FakeClock()
    keys = KeyVerifier(ClientKeys(FakeTable(), clock), clock)
    access = Access(AccessSettings.from_env(settings(**more)), keys, has_console)
    sent = {"host": "acme.example", PRINCIPAL_HEADER: encoded(document(claims)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": "/api/threads", "headers": raw}
    request = Request({**scope, "query_string": b"", "scheme": "https", "server": ("x", 443)})
    return authorized(await access.identify(request), request)


async def status_of(claims: list[Claim], headers: dict[str, str], method: str = "POST") -> int:
    try:
        await ask(claims, headers, method)
    except ProblemError as error:
        return error.problem.status
    return 200


async def test_the_client_of_a_session_is_the_app_itself() -> None:
    principal = await ask(USER, OWN_PAGE)
    assert (principal.owner, principal.actor) == (OWNER_KEY, OWN_CLIENT)
    assert principal.roles == {Role.USE}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN_PAGE, 200),
        ({"origin": "https://acme.example", "x-aos-console": "1"}, 200),
        ({}, 403),
        ({"sec-fetch-site": "same-origin"}, 403),
        ({"x-aos-console": "1"}, 403),
        ({"sec-fetch-site": "same-site", "x-aos-console": "1"}, 403),
        ({"sec-fetch-site": "cross-site", "x-aos-console": "1"}, 403),
        ({"sec-fetch-site": "none", "x-aos-console": "1"}, 403),
        ({"sec-fetch-site": "same-origin", "x-aos-console": "true"}, 403),
        ({"origin": "https://evil.example", "x-aos-console": "1"}, 403),
        ({"origin": "http://acme.example", "x-aos-console": "1"}, 403),
        ({"origin": "null", "x-aos-console": "1"}, 403),
        (
            {
                "sec-fetch-site": "cross-site",
                "origin": "https://acme.example",
                "x-aos-console": "1",
            },
            403,
        ),
        ({"authorization": "Basic dXNlcjpwYXNz"}, 403),
    ],
)
async def test_only_a_page_of_the_app_changes_something_with_a_session(
    headers: dict[str, str], status: int
) -> None:
    assert await status_of(USER, headers) == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_every_method_that_changes_something_is_checked(method: str) -> None:
    assert await status_of(USER, {}, method) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reading_needs_no_proof(method: str) -> None:
    assert await status_of(USER, {"sec-fetch-site": "none"}, method) == 200


@pytest.mark.parametrize("proof", [BEARER, {"x-functions-key": "k"}, {"x-zumo-auth": "t"}])
async def test_a_header_that_no_page_can_send_elsewhere_is_a_proof(proof: dict[str, str]) -> None:
    program = claims_of(TENANT, OWNER, Role.USE)
    assert await status_of(program, proof) == 200
    assert await status_of(program, {}) == 403


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(session_claims(("roles", Role.USE), audience="api://agents"), id="a URI"),
        pytest.param(session_claims(("roles", Role.USE), audience=CLIENT), id="another app"),
        pytest.param([*USER, ("aud", CLIENT)], id="two audiences"),
    ],
)
async def test_a_session_of_another_app_is_not_known(claims: list[Claim]) -> None:
    assert await status_of(claims, OWN_PAGE) == 401


async def test_a_token_that_a_program_sends_must_name_its_client() -> None:
    assert await status_of(USER, BEARER) == 401


async def test_a_session_needs_the_role_and_not_a_scope() -> None:
    assert await status_of(session_claims(("scp", Role.USE)), OWN_PAGE) == 403
    assert await status_of(session_claims(("roles", Role.ADMIN)), OWN_PAGE) == 200


async def test_a_session_is_known_only_where_the_console_is_on() -> None:
    with pytest.raises(ProblemError) as refused:
        await ask(USER, OWN_PAGE, has_console=False)
    assert refused.value.problem.status == 401


async def test_a_list_of_clients_must_name_the_app_itself() -> None:
    with pytest.raises(ProblemError) as refused:
        await ask(USER, OWN_PAGE, AUTH_CLIENT_IDS=CLIENT)
    assert refused.value.problem.status == 401
    allowed = await ask(USER, OWN_PAGE, AUTH_CLIENT_IDS=f"{CLIENT},{OWN_CLIENT}")
    assert allowed.actor == OWN_CLIENT
