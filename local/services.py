"""The processes of a local run: storage, Foundry and the app, each a context manager.

    with azurite(data, logs) as storage, foundry_emulator(logs) as foundry:
        with functions_host(logs, HostLaunch(environment={...})) as app: ...

Each context manager starts its service on free ports, waits until it is ready, and stops it.
"""

import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from local.azurite import StoragePorts, connection_string
from local.node import find_node
from local.processes import (
    Child,
    Command,
    Service,
    ServiceError,
    accepts_connections,
    answers_http,
    free_port,
    spawn,
)

ROOT = Path(__file__).resolve().parent.parent
STATE_DIR = ROOT / ".local"
AZURITE_DIR = STATE_DIR / "azurite"

IDENTITY_HEADER = "local"
PROJECT_PATH = "/api/projects/local"

Spawn = Callable[[Command], Child]

ServiceT = TypeVar("ServiceT", bound=Service)


class Azurite(Service):
    """The Azure Storage emulator."""

    def __init__(self, data_dir: Path | None, log_dir: Path, ports: StoragePorts) -> None:
        script = AZURITE_DIR / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
        if not script.is_file():
            raise ServiceError("Azurite is not installed; run `python3 -m local.bootstrap run`.")
        self.ports = ports
        arguments = [find_node(Path(sys.prefix)).executable, str(script)]
        arguments += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        arguments += ["--location", str(data_dir)] if data_dir else ["--inMemoryPersistence"]
        for service, port in vars(ports).items():
            arguments += [f"--{service}Port", str(port)]
        super().__init__(Command("Azurite", arguments, log_dir / "azurite.log", self._is_ready))

    @property
    def connection_string(self) -> str:
        """The connection string for the storage SDKs and AzureWebJobsStorage."""
        return connection_string(self.ports)

    def _is_ready(self) -> bool:
        return all(accepts_connections(port) for port in vars(self.ports).values())


class FoundryEmulator(Service):
    """The emulator of a Foundry project and of the managed identity endpoint."""

    def __init__(
        self,
        log_dir: Path,
        port: int,
        state: Path | None,
        environment: Mapping[str, str],
        spawn: Spawn = spawn,
    ) -> None:
        arguments = [sys.executable, "-m", "local.foundry", "--port", str(port)]
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            arguments += ["--state", str(state)]
        self.url = f"http://127.0.0.1:{port}"
        self.project_endpoint = self.url + PROJECT_PATH
        self.token_endpoint = f"{self.url}/msi/token"
        super().__init__(
            Command(
                "Foundry emulator",
                arguments,
                log_dir / "foundry.log",
                lambda: answers_http(port, "/_emulator/health"),
                {"FOUNDRY_LOCAL_IDENTITY_HEADER": IDENTITY_HEADER, **environment},
                ROOT,
                spawn,
            )
        )


class FunctionsHost(Service):
    """The app: on Azure Functions Core Tools where they are installed, else on `local.host`."""

    def __init__(self, options: "HostLaunch", log_dir: Path) -> None:
        port = options.port
        self.url = f"http://127.0.0.1:{port}"
        func = shutil.which("func") if options.prefer_core_tools else None
        self.runs_on_core_tools = func is not None
        if func:
            arguments = [func, "start", "--port", str(port)]
        else:
            arguments = [sys.executable, "-m", "local.host", "--port", str(port)]
            arguments += ["--app-dir", str(options.app_dir), "--grace", str(options.grace_seconds)]
            arguments += ["--create-queues"] if options.creates_queues else []
        super().__init__(
            Command(
                "Functions host",
                arguments,
                log_dir / "app.log",
                lambda: answers_http(port, "/admin/host/status"),
                options.environment,
                options.app_dir if func else ROOT,
                options.spawn,
            )
        )


@dataclass(frozen=True)
class HostLaunch:
    """How to serve a function app."""

    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    app_dir: Path = ROOT
    grace_seconds: int = 10
    prefer_core_tools: bool = False
    creates_queues: bool = False
    """Create the queues of the app's triggers; Core Tools do not."""
    spawn: Spawn = spawn


@contextmanager
def azurite(
    data_dir: Path | None, log_dir: Path, ports: StoragePorts | None = None
) -> Generator[Azurite]:
    """Run Azurite with its data in `data_dir`; in memory where that is None."""
    ports = ports or StoragePorts(free_port(), free_port(), free_port())
    with _running(Azurite(data_dir, log_dir, ports)) as service:
        yield service


@contextmanager
def foundry_emulator(
    log_dir: Path,
    port: int | None = None,
    state: Path | None = None,
    environment: Mapping[str, str] | None = None,
    spawn: Spawn = spawn,
) -> Generator[FoundryEmulator]:
    """Run the Foundry emulator; its state is in memory where `state` names no file."""
    service = FoundryEmulator(log_dir, port or free_port(), state, environment or {}, spawn)
    with _running(service):
        yield service


@contextmanager
def functions_host(log_dir: Path, launch: HostLaunch | None = None) -> Generator[FunctionsHost]:
    """Serve a function app, that of this repository where `launch` names no other."""
    with _running(FunctionsHost(launch or HostLaunch(), log_dir)) as service:
        yield service


@contextmanager
def _running(service: ServiceT) -> Generator[ServiceT]:
    service.start()
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()
