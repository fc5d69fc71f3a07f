"""Timers, start and stop of the local host."""

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.queue.aio import QueueClient

from local.processes import free_port
from local.services import ROOT, HostLaunch, functions_host
from tests.support.waiting import eventually

from .conftest import SAMPLE_APP


def failing_start(*arguments: str) -> str:
    """Run the host, which must refuse to start with one line; return the line."""
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [sys.executable, "-m", "local.host", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


async def test_timers_run_at_startup_and_on_their_schedule(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    settings = {**sample_settings, "TIMER_SCHEDULE": "* * * * * *"}
    with functions_host(tmp_path, HostLaunch(app_dir=SAMPLE_APP, environment=settings)) as host:
        async with httpx.AsyncClient(base_url=host.url) as client:

            async def runs() -> list[Any]:
                timers = (await client.get("/api/seen")).json()["timers"]
                return timers if len(timers) >= 3 else []

            assert set(await eventually(runs)) == {False}


async def test_at_the_end_running_requests_finish_and_the_app_is_closed(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "closed"
    settings = {**sample_settings, "CLOSED_MARKER": str(marker)}
    with functions_host(tmp_path, HostLaunch(app_dir=SAMPLE_APP, environment=settings)) as host:
        async with httpx.AsyncClient(base_url=host.url, timeout=30) as client:
            request = asyncio.create_task(client.get("/api/slow", params={"seconds": 1}))
            await eventually(lambda: "/api/slow" in host.log_path.read_text())
            host.terminate()
            assert (await request).text == "slept"
            await eventually(lambda: host.exit_code is not None)
    assert host.exit_code == 0
    assert marker.read_text() == "closed"


async def test_what_outlasts_the_grace_period_is_cut_off_and_its_message_handed_back(
    queue: QueueClient, sample_settings: dict[str, str], tmp_path: Path
) -> None:
    await queue.send_message(base64.b64encode(b'"hang"').decode())
    launch = HostLaunch(app_dir=SAMPLE_APP, environment=sample_settings, grace_seconds=0)
    with functions_host(tmp_path, launch) as host:
        await eventually(lambda: "Executing work" in host.log_path.read_text())
        host.terminate()
        await eventually(lambda: host.exit_code is not None)
        assert host.exit_code == 0

    async def handed_back() -> list[int | None]:
        return [message.dequeue_count for message in await queue.peek_messages()]

    assert await eventually(handed_back) == [1]  # after the app's visibilityTimeout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_host_ends_in_order_on_a_signal(
    number: signal.Signals, sample_settings: dict[str, str], tmp_path: Path
) -> None:
    with functions_host(
        tmp_path, HostLaunch(app_dir=SAMPLE_APP, environment=sample_settings)
    ) as host:
        host.signal(number)
        await eventually(lambda: host.exit_code is not None)
    assert host.exit_code == 0
    assert "Traceback" not in host.log_path.read_text()


def test_settings_become_environment_variables_unless_they_are_set(
    sample_settings: dict[str, str], tmp_path: Path
) -> None:
    for file in ("function_app.py", "host.json"):
        (tmp_path / file).write_text((SAMPLE_APP / file).read_text())
    port = free_port()
    values = {**sample_settings, "WORK_QUEUE": "from-the-file", "TIMER_SCHEDULE": "0 0 1 1 1 *"}
    settings = {"Host": {"LocalHttpPort": port, "CORS": "https://a.example"}, "Values": values}
    (tmp_path / "local.settings.json").write_text(json.dumps(settings))
    launch = HostLaunch(app_dir=tmp_path, environment={"WORK_QUEUE": "from-the-environment"})
    with functions_host(tmp_path / "logs", launch) as host:
        allowed = httpx.get(f"{host.url}/api/who", headers={"origin": "https://a.example"})
        foreign = httpx.get(f"{host.url}/api/who", headers={"origin": "https://b.example"})
    assert "queue from-the-environment" in host.log_path.read_text()
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in foreign.headers


def test_a_folder_without_an_app_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "host.json does not exist" in failing_start("--app-dir", str(tmp_path))


def test_a_setting_that_a_trigger_names_must_exist(tmp_path: Path) -> None:
    line = failing_start("--app-dir", str(SAMPLE_APP), "--port", str(free_port()))
    assert "AzureWebJobsStorage" in line


def test_a_busy_port_is_refused_in_one_line() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        line = failing_start("--app-dir", str(SAMPLE_APP), "--port", str(port))
    assert str(port) in line
