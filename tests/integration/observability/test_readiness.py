"""Readiness with each dependency broken in turn: it names what to fix, and goes on working."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from local.services import Azurite, FoundryEmulator
from local.services import azurite as run_azurite
from shared.config import POISON_SUFFIX
from shared.observability.probes import breakers
from shared.observability.readiness import (
    KEPT_SECONDS,
    Dependency,
    Finding,
    ProbeStatus,
    Readiness,
)
from tests.support.served import Deployment, EmulatorControl

from .conftest import App, serving

DEPENDENCIES = {"foundry", "credential", "table", "queues", "poison", "models"}
WRONG_KEY = base64.b64encode(b"not the key of this account").decode()


async def asked(app: App) -> tuple[int, dict[str, Any]]:
    answer = await app.caller.get("health/ready")
    return answer.status_code, answer.json()


def statuses(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: check["status"] for name, check in document["checks"].items()}


async def test_everything_works(app: App, emulator: EmulatorControl) -> None:
    answered = len(await emulator.requests("responses.create"))
    status, document = await asked(app)
    assert status == HTTPStatus.OK
    assert document["ready"] is True
    assert statuses(document) == dict.fromkeys(DEPENDENCIES, "ok")
    assert all(check["latency_ms"] >= 0 for check in document["checks"].values())
    assert len(await emulator.requests("responses.create")) == answered, "tokens were spent"


BROKEN_SETTINGS = [
    ({"FOUNDRY_AGENT_SERVICE_ENDPOINT": ""}, "foundry", "endpoint URL not configured"),
    ({"FOUNDRY_ENABLE_ENTRA_AGENT_ID": "false"}, "credential", "FOUNDRY_AGENT_SERVICE_API_KEY"),
    ({"FOUNDRY_MODEL": "no-such-model"}, "foundry", "no-such-model"),
    (
        {"FOUNDRY_AGENT_SERVICE_ENDPOINT": "http://127.0.0.1:9/api/projects/p"},
        "foundry",
        "FOUNDRY_AGENT_SERVICE_ENDPOINT",
    ),
]


@pytest.mark.parametrize(("settings", "broken", "said"), BROKEN_SETTINGS)
async def test_a_wrong_setting_is_named(
    deployment: Deployment, settings: dict[str, str], broken: str, said: str
) -> None:
    async with serving(deployment, **settings) as app:
        status, document = await asked(app)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert document["code"] == "not_ready"
    assert document["ready"] is False
    assert statuses(document)[broken] == "failed"
    assert said in document["checks"][broken]["detail"]
    assert said in document["detail"]
    assert statuses(document)["table"] == statuses(document)["queues"] == "ok"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 401}, "token"),
        ({"status": 403}, "role"),
        ({"status": 500}, ""),
    ],
)
async def test_foundry_that_refuses_is_told_with_the_fix(
    app: App, emulator: EmulatorControl, fault: dict[str, Any], said: str
) -> None:
    await emulator.inject("status", "deployments.get", times=None, **fault)
    status, document = await asked(app)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert document["checks"]["foundry"]["status"] == "failed"
    assert said in document["checks"]["foundry"]["detail"].lower()
    assert statuses(document)["credential"] == "ok"


async def test_foundry_that_says_nothing_holds_nobody_up(
    app: App, emulator: EmulatorControl
) -> None:
    await emulator.inject("hang", "deployments.get", times=None, seconds=8)
    _, document = await asked(app)
    foundry = document["checks"]["foundry"]
    assert foundry["status"] == "failed"
    assert "FOUNDRY_AGENT_SERVICE_ENDPOINT" in foundry["detail"]
    assert statuses(document)["table"] == "ok"


async def test_storage_that_refuses_the_app_is_told_with_the_role(
    azurite: Azurite, foundry: FoundryEmulator
) -> None:
    parts = dict(part.split("=", 1) for part in azurite.connection_string.strip(";").split(";"))
    wrong = ";".join(f"{k}={v}" for k, v in (parts | {"AccountKey": WRONG_KEY}).items())
    async with serving(Deployment(wrong, foundry)) as app:
        status, document = await asked(app)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    roles = {"table": "Storage Table Data Contributor", "queues": "Storage Queue Data Contributor"}
    for broken, role in roles.items():
        assert role in document["checks"][broken]["detail"]
    assert statuses(document)["foundry"] == "ok"


async def test_storage_that_is_gone_is_told_with_the_setting(
    tmp_path: Path, foundry: FoundryEmulator
) -> None:
    with run_azurite(tmp_path / "data", tmp_path / "logs") as gone:
        deployment = Deployment(gone.connection_string, foundry)
    async with serving(deployment) as app:
        status, document = await asked(app)
        health = await app.caller.get("health")
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    for broken in ("table", "queues", "poison"):
        assert "AzureWebJobsStorage" in document["checks"][broken]["detail"]
    assert statuses(document)["foundry"] == "ok"
    assert health.json() == {"status": "ok"}


async def test_messages_that_were_given_up_are_a_warning(app: App) -> None:
    await app.services.core.queues.reject(app.deployment.lanes, b"never mind")
    status, document = await asked(app)
    assert status == HTTPStatus.OK
    poison = document["checks"]["poison"]
    assert poison["status"] == "warning"
    assert poison["messages"][app.deployment.lanes + POISON_SUFFIX] == 1
    assert app.deployment.lanes + POISON_SUFFIX in poison["detail"]


async def test_the_oldest_message_of_each_queue_is_told(app: App) -> None:
    await app.caller.post("jobs", json={"message": "Hello"})
    _, document = await asked(app)
    ages = document["checks"]["queues"]["oldest_seconds"]
    deployment = app.deployment
    assert set(ages) == {deployment.intake, deployment.lanes, deployment.deliveries}
    assert 0 <= ages[deployment.lanes] < 60


class Asked:
    """A dependency that counts how often it is asked."""

    def __init__(self, finding: Finding | Exception) -> None:
        self.times = 0
        self._finding = finding

    async def __call__(self) -> Finding:
        self.times += 1
        await asyncio.sleep(0)
        if isinstance(self._finding, Exception):
            raise self._finding
        return self._finding


async def test_a_dependency_is_asked_once_in_ten_seconds_however_many_want_to_know() -> None:
    now, probe = [100.0], Asked(Finding())
    readiness = Readiness({"it": Dependency(probe, "IT")}, clock=lambda: now[0])
    reports = await asyncio.gather(*(readiness.report() for _ in range(50)))
    assert probe.times == 1
    assert all(report is reports[0] for report in reports)
    now[0] += KEPT_SECONDS - 1
    assert await readiness.report() is reports[0]
    now[0] += 2
    assert await readiness.report() is not reports[0]
    assert probe.times == 2


async def test_a_probe_that_breaks_spoils_no_other() -> None:
    probes = {"odd": Asked(ZeroDivisionError("secret")), "even": Asked(Finding())}
    readiness = Readiness({name: Dependency(probe, "X") for name, probe in probes.items()})
    report = await readiness.report()
    assert report.checks["odd"].finding.status is ProbeStatus.FAILED
    assert "secret" not in report.checks["odd"].finding.detail
    assert report.checks["even"].finding.status is ProbeStatus.OK


async def test_an_open_breaker_is_a_warning() -> None:
    states = {"foundry": "open", "vllm": "closed"}
    finding = await breakers(lambda: states).probe()
    assert finding.status is ProbeStatus.WARNING
    assert "foundry" in finding.detail
    assert finding.measurements == {"breakers": states}
