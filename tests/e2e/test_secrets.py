"""Everything the app can say, at its most talkative, without one secret in it."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.data.tables.aio import TableServiceClient

from local.azurite import ACCOUNT, ACCOUNT_KEY
from local.services import Azurite, FoundryEmulator, foundry_emulator
from tests.support import forking
from tests.support.asking import ended, submit
from tests.support.authority import make_certificate
from tests.support.callers import (
    ACCESS,
    ADMIN,
    FUNCTION_KEY,
    OWNER,
    OWNER_KEY,
    PRINCIPAL_HEADER,
    known,
)
from tests.support.callers import TENANT as CALLERS_TENANT
from tests.support.fake_entra import (
    AGENT,
    BLUEPRINT,
    IDENTITY_HEADER,
    LEG_1,
    LEG_2,
    MANAGED,
    MANAGED_IDENTITY,
    TENANT,
    Answer,
    FakeEntra,
    refusal,
)
from tests.support.leaks import CALLERS_SECRETS, MARK, leaks
from tests.support.served import Deployment, EmulatorControl
from tests.support.serving import serve
from tests.support.waiting import eventually

from .test_ownership import JOB, ROWS, THREAD, accepted, call

API_KEY = f"{MARK}-api-key-of-the-resource"
BLUEPRINT_SECRET = f"{MARK}-secret-of-the-blueprint"
MESSAGE = "What the patient told the doctor"
TOKENS = [f"{MARK}{leg.replace(' ', '-')}-token-{n}" for leg in (LEG_2,) for n in range(1, 40)]


@dataclass
class Heard:
    """All that came out of the app."""

    answers: list[str] = field(default_factory=list[str])
    statuses: set[int] = field(default_factory=set[int])
    logs: list[Path] = field(default_factory=list[Path])

    async def answer(self, response: httpx.Response) -> None:
        await response.aread()
        self.statuses.add(response.status_code)
        self.answers.append(f"{response.headers.raw!r} {response.text}")

    def logged(self) -> str:
        return "\n".join(path.read_text() for path in self.logs)


@dataclass(frozen=True)
class Stage:
    """What the app runs on."""

    deployment: Deployment
    entra: FakeEntra
    emulator: EmulatorControl
    settings: dict[str, str]


@pytest.fixture
async def stage(azurite: Azurite, tmp_path: Path) -> AsyncIterator[Stage]:
    certificate = make_certificate(tmp_path)
    environment = {
        "FOUNDRY_LOCAL_BACKEND": "scripted",
        "FOUNDRY_LOCAL_TOKENS": ",".join(["local-token", *TOKENS]),
        "FOUNDRY_LOCAL_API_KEYS": API_KEY,
    }
    logs = tmp_path / "foundry"
    logs.mkdir()
    async with FakeEntra(certificate).running() as entra:
        entra.prefix, entra.secret = MARK, BLUEPRINT_SECRET
        with foundry_emulator(logs, environment=environment, spawn=forking.spawn) as foundry:
            control = EmulatorControl(foundry)
            deployment = Deployment(azurite.connection_string, foundry)
            yield Stage(deployment, entra, control, agent_settings(entra, foundry))
            await control.aclose()


def agent_settings(entra: FakeEntra, foundry: FoundryEmulator) -> dict[str, str]:
    """The app acts as an agent identity, and its callers are known to Entra."""
    return {
        **ACCESS,
        "AUTH_MODE": "both",
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": MANAGED_IDENTITY,
        "AZURE_AUTHORITY_HOST": entra.authority,
        "SSL_CERT_FILE": str(entra.certificate.path),
        "FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID": BLUEPRINT,
        "FOUNDRY_AGENT_IDENTITY_CLIENT_ID": AGENT,
        "FOUNDRY_AGENT_SERVICE_ENDPOINT": foundry.project_endpoint,
        "IDENTITY_ENDPOINT": entra.identity_endpoint,
        "IDENTITY_HEADER": IDENTITY_HEADER,
    }


async def use(client: httpx.AsyncClient, stage: Stage, number: int) -> None:
    """Use every route, well and badly, while Foundry works and while it does not.

    Each run of the app asks for a stream where the one before did not.
    """
    created = await client.post("threads", json={"metadata": {"a": "b"}})
    ids = {THREAD: str(created.json().get(THREAD)), JOB: await submit(client, message=MESSAGE)}
    for _ in range(2):
        await client.post(f"threads/{ids[THREAD]}/messages", json={"message": MESSAGE})
    await ended(client, ids[JOB])
    await client.get("nowhere")
    await client.post("messages", json={"message": MESSAGE, "unknown": MESSAGE})
    await client.post("messages", content=b"{", headers={"content-type": "application/json"})
    for status in (401, 403, 500):
        await stage.emulator.inject("status", status=status, times=1)
        await client.post("messages", json={"message": MESSAGE})
    await stage.emulator.inject("drop", times=1)
    await client.post("messages", json={"message": MESSAGE})
    await stage.emulator.clear_faults()
    for place, route in enumerate(sorted(ROWS, key=lambda route: route.startswith("DELETE"))):
        for accept in accepted(place + number):
            await call(client, route, ids, accept)


async def use_a_client_key(url: str, heard: Heard) -> None:
    """Make a key, which is said once, and use it well and badly in every header."""
    host_key = {"x-functions-key": FUNCTION_KEY}
    admin = {**host_key, **known(CALLERS_TENANT, ADMIN, "Agents.Admin")}
    admin["Idempotency-Key"] = url
    async with httpx.AsyncClient(base_url=f"{url}/api/", headers=host_key, timeout=60) as client:
        made = await client.post("keys", json={"label": "a key"}, headers=admin)
        key = made.json()["key"]
        assert leaks(key)
        client.event_hooks = {"response": [heard.answer]}
        await client.post("keys", json={"label": "a key"}, headers=admin)
        for sent in (key, key[:-1] + "-", key[:-1], f"{key} {key}"):
            for header in ("Authorization", "api-key", "x-api-key"):
                headers = {header: f"Bearer {sent}" if header == "Authorization" else sent}
                await client.post("messages", json={"message": MESSAGE}, headers=headers)
        await client.post("jobs", json={"message": MESSAGE}, headers={"api-key": key})
        await client.delete(f"keys/{made.json()['key_id']}", headers=admin)
        await client.get("me", headers={"api-key": key})


async def run(stage: Stage, heard: Heard, folder: Path, **settings: str) -> None:
    """Run the app once, with callers known, unknown and wrong."""
    with serve(stage.deployment, folder, {**stage.settings, **settings}, talkative=True) as host:
        heard.logs.append(host.log_path)
        headers = {
            **known(CALLERS_TENANT, OWNER),
            **CALLERS_SECRETS,
            "x-functions-key": FUNCTION_KEY,
        }
        async with httpx.AsyncClient(
            base_url=f"{host.url}/api/",
            headers=headers,
            timeout=60,
            event_hooks={"response": [heard.answer]},
        ) as client:
            await use(client, stage, len(heard.logs))
            forged = {PRINCIPAL_HEADER: f"{MARK}-forged"}
            await client.get("threads", headers=forged)
            await client.get("threads", headers={"x-functions-key": f"{MARK}-wrong"})
        await use_a_client_key(host.url, heard)
        async with stage.deployment.queue(stage.deployment.intake) as intake:
            with suppress(ResourceExistsError):
                await intake.create_queue()
            await intake.send_message(json.dumps({"owner": OWNER_KEY, "message": MESSAGE}))
            await intake.send_message("{")

        async def are_taken() -> bool:
            return await stage.deployment.depth(stage.deployment.intake) == 0

        await eventually(are_taken)


async def stored(deployment: Deployment, table: str) -> str:
    """Every row of a table."""
    async with TableServiceClient.from_connection_string(deployment.storage) as service:
        rows: list[Any] = [
            dict(row) async for row in service.get_table_client(table).list_entities()
        ]
    assert rows
    return repr(rows)


async def queued(deployment: Deployment) -> str:
    """Every message that the app left on its queues."""
    names = (deployment.intake, f"{deployment.intake}-poison", deployment.lanes)
    return repr([await deployment.waiting(name) for name in names])


def secrets(entra: FakeEntra) -> set[str]:
    """What must not be anywhere."""
    callers_principal = known(CALLERS_TENANT, OWNER)[PRINCIPAL_HEADER]
    return {
        MARK,
        *entra.issued,
        IDENTITY_HEADER,
        FUNCTION_KEY,
        callers_principal,
        callers_principal[:60],
    }


@pytest.mark.parametrize(
    "secret",
    [
        API_KEY,
        CALLERS_SECRETS["authorization"],
        ACCOUNT_KEY,
        f"SharedKey {ACCOUNT}:c2lnbmVk",
        "aos_7k2m9x4q0b_" + "0aZ" * 17,
        jwt.encode({"aud": "https://ai.azure.com"}, "the key of an emulator of Foundry"),
    ],
)
def test_the_search_finds_a_secret(secret: str) -> None:
    assert leaks(f"before {secret} behind")
    assert not leaks("before and behind")


@pytest.mark.timeout(300)
async def test_no_secret_is_in_answers_logs_or_storage(stage: Stage, tmp_path: Path) -> None:
    heard, entra = Heard(), stage.entra
    echo = f"AADSTS50027: {MARK}managed-identity-token-1 is no good"
    entra.answers[LEG_1] = [Answer(400, {"error": "invalid_request", "error_description": echo})]
    entra.answers[LEG_2] = [refusal(82001)]
    await run(stage, heard, tmp_path / "managed")
    assert entra.requests(MANAGED)
    await run(
        stage,
        heard,
        tmp_path / "secret",
        IDENTITY_ENDPOINT="",
        FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET=BLUEPRINT_SECRET,
    )
    resource = f"{stage.settings['FOUNDRY_AGENT_SERVICE_ENDPOINT'].partition('/api/')[0]}/openai/v1"
    for folder, key in (("key", API_KEY), ("wrong key", f"{MARK}-wrong-key")):
        await run(
            stage,
            heard,
            tmp_path / folder,
            FOUNDRY_AGENT_SERVICE_ENDPOINT=resource,
            FOUNDRY_AGENT_SERVICE_API_KEY=key,
        )
    assert {200, 201, 202, 204, 400, 401, 404, 422, 503} <= heard.statuses
    logged = heard.logged()
    assert "DEBUG" in logged
    assert "AADSTS50027" in logged + "".join(heard.answers)
    deployment = stage.deployment
    places = {
        "logs": logged,
        "answers": "\n".join(heard.answers),
        "state": await stored(deployment, deployment.table),
        "audit": await stored(deployment, deployment.audit),
        "queues": await queued(deployment),
    }
    found = [
        (place, secret[:20], text[max(0, text.index(secret) - 200) :][:300])
        for place, text in places.items()
        for secret in secrets(entra)
        if secret in text
    ]
    assert found == []
    assert [leak for text in places.values() for leak in leaks(text)] == []
    assert MESSAGE not in places["logs"]
    assert MESSAGE not in places["audit"]
    assert MESSAGE in places["state"]
