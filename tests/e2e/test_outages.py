"""What depends on a service that is not there says so, and what does not goes on."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from local.azurite import connection_string
from local.processes import ServiceError, free_port
from local.services import Azurite, FoundryEmulator
from tests.support.served import Deployment, EmulatorControl


async def test_with_foundry_down_the_app_starts_and_a_send_says_what_to_check(
    deployment: Deployment, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/api/projects/local"
    own = Deployment(deployment.storage, deployment.foundry)
    with own.serve(tmp_path, FOUNDRY_AGENT_SERVICE_ENDPOINT=nowhere) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            assert (await caller.get("health")).json() == {"status": "ok"}
            for path in ("messages", "threads"):
                body = {"message": "Hi"} if path == "messages" else {}
                answer = await caller.post(path, json=body)
                assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
                assert "FOUNDRY_AGENT_SERVICE_ENDPOINT" in answer.json()["detail"]
    (turn,) = await own.rows(kind="turn:")
    assert (turn["status"], turn["error_code"]) == ("failed", "service_unavailable")


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("FOUNDRY_AGENT_SERVICE_ENDPOINT", "", "FOUNDRY_AGENT_SERVICE_ENDPOINT"),
        ("IDENTITY_HEADER", "wrong", "managed identity"),
    ],
)
async def test_a_setting_that_cannot_work_is_named_in_a_503(
    deployment: Deployment, tmp_path: Path, setting: str, value: str, named: str
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    with own.serve(tmp_path, False, **{setting: value}) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
            assert (await caller.get("health")).status_code == 200
            answer = await caller.post("messages", json={"message": "Hi"})
    assert answer.status_code == 503
    assert named in answer.json()["detail"]
    assert "secret-key" not in answer.text
    assert "Traceback" not in host.log_path.read_text()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("FOUNDRY_AGENT_SERVICE_API_KEY", "secret-key"), ("FOUNDRY_AGENT_ID", "asst_123")],
)
def test_a_setting_that_can_be_judged_at_start_is_named_there(
    deployment: Deployment, tmp_path: Path, setting: str, value: str
) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    with (
        pytest.raises(ServiceError, match=f"- {setting} ") as refused,
        own.serve(tmp_path, False, **{setting: value}),
    ):
        pass
    assert "secret-key" not in str(refused.value)


async def test_foundry_that_comes_back_is_used_again(
    caller: httpx.AsyncClient, emulator: EmulatorControl
) -> None:
    await emulator.inject("drop", times=None)
    body = {"message": "Hi"}
    assert (await caller.post("messages", json=body)).status_code == 503
    await emulator.clear_faults()
    assert (await caller.post("messages", json=body)).status_code == 200


async def test_with_storage_down_a_503_says_what_to_check(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path: Path
) -> None:
    dead = replace(azurite.ports, table=free_port(), queue=free_port())
    with Deployment(connection_string(dead), foundry).serve(tmp_path) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=60) as caller:
            assert (await caller.get("health")).status_code == 200
            answers = await asyncio.gather(
                caller.post("messages", json={"message": "Hi"}),
                caller.get("threads"),
                caller.post("jobs", json={"message": "Hi"}),
            )
    for answer in answers:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "storage_unavailable")
        assert "AzureWebJobsStorage" in problem["detail"]


async def test_a_job_is_accepted_though_no_queue_takes_its_wake_up(
    azurite: Azurite, foundry: FoundryEmulator, tmp_path: Path
) -> None:
    storage = connection_string(replace(azurite.ports, queue=free_port()))
    with Deployment(storage, foundry).serve(tmp_path) as host:
        async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=20) as caller:
            answer = await caller.post("jobs", json={"message": "Hi"})
            assert (answer.status_code, answer.json()["status"]) == (202, "queued")
            assert (await caller.post("messages", json={"message": "Hi"})).status_code == 200
