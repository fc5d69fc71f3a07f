"""`make run` from the outside: one launcher process and its children."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import StoragePorts, connection_string
from local.processes import free_port
from local.services import ROOT
from tests.support.waiting import eventually

from .conftest import NEVER, SAMPLE_APP

PORT_FLAGS = ("port", "foundry-port", "blob-port", "queue-port", "table-port")


@dataclass
class Launch:
    """A launcher with its output in a file, as without a terminal."""

    process: subprocess.Popen[bytes]
    output: Path
    ports: dict[str, int]

    @property
    def text(self) -> str:
        return self.output.read_text()

    async def until_ready(self) -> None:
        await eventually(lambda: "Stop with Ctrl-C" in self.text or self.process.poll(), 60)
        assert self.process.poll() is None, self.text

    def children(self) -> dict[str, int]:
        """The pids of the children, by the program or module that they run."""
        found: dict[str, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            if parent_and_state(pid)[0] != self.process.pid:
                continue
            arguments = (folder / "cmdline").read_text()
            for name in ("azurite.js", "local.foundry", "local.host"):
                if name in arguments:
                    found[name] = pid
        return found


@contextmanager
def launched(folder: Path, environment: dict[str, str] | None = None) -> Generator[Launch]:
    """Start the launcher on the sample app with free ports; end it whatever happens."""
    app = folder / "app"
    if not app.exists():
        app.mkdir()
        for file in ("function_app.py", "host.json"):
            (app / file).write_text((SAMPLE_APP / file).read_text())
    ports = {flag: free_port() for flag in PORT_FLAGS}
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 (a fixed command)
            [sys.executable, "-m", "local.run", "--app-dir", str(app)]
            + ["--state-dir", str(folder / "state")]
            + [word for flag, port in ports.items() for word in (f"--{flag}", str(port))],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "FOUNDRY_LOCAL_BACKEND": "scripted",
                "WORK_QUEUE": "work",
                "TIMER_SCHEDULE": NEVER,
                **(environment or {}),
            },
        )
    try:
        yield Launch(process, output, ports)
    finally:
        process.terminate()
        process.wait(20)


async def queue_names(port: int) -> set[str]:
    """The queues that a producer finds."""
    ports = StoragePorts(queue=port)
    async with QueueServiceClient.from_connection_string(connection_string(ports)) as service:
        return {queue.name or "" async for queue in service.list_queues()}


def parent_and_state(pid: int) -> tuple[int, str]:
    """Read /proc/PID/stat; a process that is gone has parent 0 and state X."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0, "X"
    state, parent = status.rsplit(")", 1)[1].split()[:2]
    return int(parent), state


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not reaped does not."""
    return parent_and_state(pid)[1] not in "XZ"


async def test_ctrl_c_ends_every_child_and_the_second_start_uses_the_same_state(
    tmp_path: Path,
) -> None:
    for attempt in ("first", "second"):
        started = time.monotonic()
        with launched(tmp_path) as launch:
            await launch.until_ready()
            print(f"{attempt} start: {time.monotonic() - started:.1f} s")  # noqa: T201 (a figure for the reader)
            app = f"http://localhost:{launch.ports['port']}"
            assert app in launch.text
            assert "\x1b" not in launch.text
            assert "\r" not in launch.text
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{app}/api/who")).status_code == 200
            assert await queue_names(launch.ports["queue-port"]) >= {"work"}
            children = launch.children()
            assert set(children) == {"azurite.js", "local.foundry", "local.host"}
            launch.process.send_signal(signal.SIGINT)
            await eventually(lambda process=launch.process: process.poll() is not None)
            assert launch.process.returncode == 0
            assert [name for name, pid in children.items() if is_alive(pid)] == []
    assert (tmp_path / "app" / "local.settings.json").exists()
    assert (tmp_path / "state" / "foundry" / "state.db").exists()


async def test_the_children_of_a_killed_launcher_end_too(tmp_path: Path) -> None:
    with launched(tmp_path) as launch:
        await launch.until_ready()
        children = launch.children()
        launch.process.kill()
        await eventually(lambda: not any(is_alive(pid) for pid in children.values()))


async def test_a_child_that_dies_is_named_and_the_rest_is_stopped(tmp_path: Path) -> None:
    with launched(tmp_path) as launch:
        await launch.until_ready()
        children = launch.children()
        os.kill(children["azurite.js"], signal.SIGKILL)
        await eventually(lambda: launch.process.poll() is not None)
        assert launch.process.returncode == 1
        assert "Azurite ended unexpectedly (signal 9)" in launch.text
        assert [name for name, pid in children.items() if is_alive(pid)] == []


async def test_an_app_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text("{}")
    (app / "function_app.py").write_text("raise RuntimeError('this app is broken')")
    with launched(tmp_path) as launch:
        await eventually(lambda: launch.process.poll() is not None)
        assert launch.process.returncode == 1
        assert "Functions host ended unexpectedly" in launch.text
        assert "this app is broken" in launch.text


async def test_a_configured_endpoint_replaces_the_emulator(tmp_path: Path) -> None:
    endpoint = "https://example.services.ai.azure.com/api/projects/mine"
    with launched(tmp_path, {"FOUNDRY_AGENT_SERVICE_ENDPOINT": endpoint}) as launch:
        await launch.until_ready()
        assert set(launch.children()) == {"azurite.js", "local.host"}
        assert f"{endpoint}  (as configured, no emulator)" in launch.text


@pytest.mark.parametrize(("flag", "variable"), [("--port", "PORT"), ("--blob-port", "BLOB_PORT")])
def test_a_busy_port_is_one_line_that_says_how_to_choose_another(
    flag: str, variable: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = [word for name in PORT_FLAGS for word in (f"--{name}", str(free_port()))]
        done = subprocess.run(  # noqa: S603 (a fixed command)
            [
                *(sys.executable, "-m", "local.run", *free, flag, str(port)),
                *("--app-dir", str(tmp_path), "--state-dir", str(tmp_path / "state")),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"Port {port}" in line
    assert f"make run {variable}=" in line
