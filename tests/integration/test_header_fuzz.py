"""Forged principal headers: none is believed, and none breaks anything.

`HEADER_FUZZ_CASES` says how many are tried; `make torture` tries 20,000.
"""

import asyncio
import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from shared.app import Services, Tables
from shared.config import AccessSettings, AppSettings, FoundryAgentServiceConfig
from shared.foundry.service import FoundryService
from shared.http.easy_auth import MAX_CLAIMS, MAX_HEADER_CHARS
from shared.routes import ROUTES
from tests.support.callers import (
    ACCESS,
    CLIENT,
    FOREIGN_TENANT,
    OWNER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    TENANT,
    Claim,
    claims_of,
    document,
    encoded,
)
from tests.support.fakes import FakeClock, FakeQueues, FakeTable

CASES = int(os.environ.get("HEADER_FUZZ_CASES") or 1_000)
LIST_THREADS = next(route for route in ROUTES if route.name == "list_threads")
ROLE = "Agents.Use"
TRUE_CLAIMS = claims_of(TENANT, OWNER, ROLE)
SUBJECT = 3
NEEDED = range(5)
"""Places of the claims without any of which a caller is not known."""

Headers = list[tuple[bytes, bytes]]


@dataclass
class Door:
    """The app on fakes, behind App Service authentication, on an event loop of its own."""

    runner: asyncio.Runner
    services: Services

    def ask(self, headers: Headers) -> Response:
        """Ask for the caller's threads."""
        return self.runner.run(self._ask(headers))

    async def _ask(self, headers: Headers) -> Response:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/api/threads",
            "query_string": b"",
            "headers": headers,
            "path_params": {},
            "scheme": "http",
            "server": ("app", 80),
        }
        web = self.services.web
        return await LIST_THREADS.answer(web.edge, web.api, Request(scope))


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    access = AccessSettings.from_env({**ACCESS, "AUTH_MODE": "entra", "AUTH_CLIENT_IDS": CLIENT})
    with asyncio.Runner() as runner:
        services = Services.build(
            AppSettings(access=access),
            tables=Tables(FakeTable(), FakeTable(), FakeTable()),
            queues=FakeQueues(),
            foundry=FoundryService(FoundryAgentServiceConfig()),
            clock=FakeClock(),
        )
        yield Door(runner, services)
        runner.run(services.aclose())


def header(text: str | bytes) -> Headers:
    value = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return [(PRINCIPAL_HEADER.encode(), value)]


def with_claims(claims: list[Claim]) -> Headers:
    return header(encoded(document(claims)))


def too_many_claims() -> Headers:
    """One claim over the limit, in a header that is not too long."""
    principal = document([("a", "b")] * (MAX_CLAIMS + 1 - len(TRUE_CLAIMS)) + TRUE_CLAIMS)
    content = json.dumps(principal, separators=(",", ":")).encode()
    assert len(base64.b64encode(content)) <= MAX_HEADER_CHARS
    return header(base64.b64encode(content))


def replaced(place: int, value: str) -> Headers:
    claims = list(TRUE_CLAIMS)
    claims[place] = (claims[place][0], value)
    return with_claims(claims)


def is_another(place: int) -> Callable[[str], bool]:
    return lambda text: text.lower() != TRUE_CLAIMS[place][1].lower()


def recoded(edit: Callable[[str], str]) -> Headers:
    return header(edit(encoded(document(TRUE_CLAIMS))))


GUIDS = st.uuids().map(str)
LOOKALIKES = st.sampled_from(
    [
        TENANT + " ",
        TENANT + "\n",
        TENANT + "\x00",
        "{" + TENANT + "}",
        TENANT.replace("-", ""),
        TENANT.replace("0", "\u0660"),
        TENANT.replace("a", "\uff41"),
        f"{TENANT},{FOREIGN_TENANT}",
        f"{FOREIGN_TENANT} {TENANT}",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), GUIDS, LOOKALIKES, st.just(""))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)


def lookalike_claim(place: int) -> st.SearchStrategy[Headers]:
    texts = TEXTS.filter(is_another(place))
    if place == SUBJECT:  # another object id of the tenant is another user, and no forgery
        texts = texts.filter(
            lambda text: not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4,12}){4}", text)
        )
    return texts.map(lambda text: replaced(place, text))


def doubled(pair: tuple[int, str]) -> Headers:
    place, value = pair
    return with_claims([*TRUE_CLAIMS, (TRUE_CLAIMS[place][0], value)])


def under_both_names(tenant: str) -> Headers:
    return with_claims([*TRUE_CLAIMS, ("tid", tenant)])


def renamed(pair: tuple[int, str]) -> Headers:
    place, name = pair
    claims = list(TRUE_CLAIMS)
    claims[place] = (name, claims[place][1])
    return with_claims(claims)


def typed(value: Any) -> Headers:
    principal = document(TRUE_CLAIMS)
    principal["claims"] = value
    return header(encoded(principal))


def provider(name: str) -> Headers:
    return header(encoded(document(TRUE_CLAIMS, name)))


FOREIGN_GUIDS = GUIDS.filter(lambda text: all(text != claim[1] for claim in TRUE_CLAIMS))
FORGERIES: dict[str, st.SearchStrategy[Headers]] = {
    "any bytes": st.binary(max_size=300).map(header),
    "any text": st.text(max_size=300).map(header),
    "any JSON": JSON.map(lambda value: header(encoded(value))),
    "any bytes as base64": st.binary(max_size=300).map(
        lambda content: header(base64.b64encode(content))
    ),
    "another value": st.sampled_from(NEEDED).flatmap(lookalike_claim),
    "a claim left out": st.sampled_from(NEEDED).map(
        lambda place: with_claims([c for n, c in enumerate(TRUE_CLAIMS) if n != place])
    ),
    "a claim twice": st.tuples(st.sampled_from(NEEDED), FOREIGN_GUIDS).map(doubled),
    "a claim under both names": FOREIGN_GUIDS.map(under_both_names),
    "a claim renamed": st.tuples(
        st.sampled_from(NEEDED),
        st.text(max_size=20).filter(
            lambda t: t not in {"tid", "oid", "aud", "iss", "azp", "appid"}
        ),
    ).map(renamed),
    "no role": st.just(with_claims(claims_of(TENANT, OWNER))),
    "a role that is none": st.text(max_size=20)
    .filter(lambda text: text not in {ROLE, "Agents.Admin"})
    .map(lambda role: with_claims(claims_of(TENANT, OWNER, role))),
    "another provider": st.text(max_size=20)
    .filter(lambda text: text not in {"aad", "azureactivedirectory"})
    .map(provider),
    "claims of another type": JSON.map(typed),
    "the url-safe alphabet, or none": st.sampled_from(
        ["-", "_", " ", "\n", "=", "\u00e9", "\x00"]
    ).flatmap(
        lambda extra: st.integers(0, 200).map(
            lambda at: recoded(lambda text: text[:at] + extra + text[at:])
        )
    ),
    "cut short": st.integers(1, 200).map(lambda n: recoded(lambda text: text[:-n])),
    "spaces around": st.sampled_from([" ", "\t"]).map(lambda s: recoded(lambda text: text + s)),
    "two headers": st.binary(max_size=20).map(
        lambda more: [*with_claims(TRUE_CLAIMS), (PRINCIPAL_HEADER.encode(), more)]
    ),
    "too long": st.integers(32_769, 60_000).map(lambda size: header("A" * size)),
    "nested deep": st.integers(100, 20_000).map(
        lambda depth: header(base64.b64encode(b"[" * depth))
    ),
    "too many claims": st.just(too_many_claims()),
    "other headers of App Service": st.sampled_from(
        ["x-ms-client-principal-id", "x-ms-client-principal-name", "x-ms-token-aad-id-token"]
    ).map(lambda name: [(name.encode(), OWNER_KEY.encode())]),
    "a bearer token": st.binary(max_size=100).map(
        lambda token: [(b"authorization", b"Bearer " + token)]
    ),
    "no header": st.just([]),
}


def differs(headers: Headers) -> bool:
    """Whether a header is not by chance the true one."""
    return headers != with_claims(TRUE_CLAIMS)


@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(headers=st.one_of(*FORGERIES.values()).filter(differs))
def test_no_forgery_is_believed_and_none_breaks_anything(door: Door, headers: Headers) -> None:
    answer = door.ask(headers)
    assert answer.status_code in {401, 403}
    problem = json.loads(bytes(answer.body))
    assert problem["code"] in {"unauthorized", "forbidden"}
    quoted = re.sub(r"req_\w+", "", bytes(answer.body).decode())
    assert TENANT not in quoted


@pytest.mark.parametrize(
    "claims",
    [
        TRUE_CLAIMS,
        [(typ, val.upper() if "-" in val and "/" not in val else val) for typ, val in TRUE_CLAIMS],
        [("appid", CLIENT) if typ == "azp" else (typ, val) for typ, val in TRUE_CLAIMS],
        [*TRUE_CLAIMS, ("tid", TENANT), ("groups", "a"), ("groups", "b")],
        [
            ("iss", f"https://sts.windows.net/{TENANT}/") if typ == "iss" else (typ, val)
            for typ, val in TRUE_CLAIMS
        ],
    ],
)
def test_a_true_principal_is_believed(door: Door, claims: list[Claim]) -> None:
    assert door.ask(with_claims(claims)).status_code == 200


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_without_app_service_authentication_nothing_is_believed(text: str) -> None:
    access = AccessSettings.from_env(
        {**ACCESS, "AUTH_MODE": "entra", "WEBSITE_AUTH_ENABLED": "false"}
    )
    services = Services.build(
        AppSettings(access=access),
        tables=Tables(FakeTable(), FakeTable(), FakeTable()),
        queues=FakeQueues(),
        foundry=FoundryService(FoundryAgentServiceConfig()),
        clock=FakeClock(),
    )
    with asyncio.Runner() as runner:
        door = Door(runner, services)
        assert door.ask(with_claims(TRUE_CLAIMS)).status_code == 401
        assert door.ask(header(text)).status_code == 401
        runner.run(services.aclose())


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AUTH_MODE": "anonymous"}, "AUTH_ANONYMOUS_CONFIRMED"),
        ({"AUTH_MODE": "entra"}, "AUTH_TENANT_IDS"),
        ({"AUTH_MODE": "entra", "AUTH_TENANT_IDS": TENANT}, "AUTH_AUDIENCES"),
        ({"AUTH_MODE": "both"}, "AUTH_TENANT_IDS"),
        ({"AUTH_MODE": "open"}, "AUTH_MODE"),
        ({"AUTH_TENANT_IDS": "contoso.example"}, "AUTH_TENANT_IDS"),
        ({"WEBSITE_AUTH_ENABLED": "perhaps"}, "WEBSITE_AUTH_ENABLED"),
    ],
)
def test_settings_that_would_let_in_too_many_stop_the_start(
    environ: dict[str, str], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        AccessSettings.from_env(environ)
