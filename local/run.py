"""`make run`: starts storage, the Foundry emulator and the app, and stops them together."""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from local import client_key
from local.azurite import StoragePorts, is_development_storage
from local.host.settings import HostConfigurationError, read_local_settings
from local.processes import ServiceError, is_free
from local.screen import BETTER_MODELS, Running, render
from local.services import (
    IDENTITY_HEADER,
    ROOT,
    STATE_DIR,
    Azurite,
    FoundryEmulator,
    FunctionsHost,
    HostLaunch,
)

SAMPLE_SETTINGS = ROOT / "local.settings.sample.json"
# Running invocations are cancelled after this, so that Ctrl-C feels immediate.
APP_GRACE_SECONDS = 1
STOP_SECONDS = 1.5
DEFAULT_MODEL = "llama-3.3-70b"

_ON = {"", "1", "on", "t", "true", "y", "yes"}
"""Values of `CONSOLE` with which the app serves it."""

_BACKENDS = {
    "smollm2": "SmolLM2-135M-Instruct on llama.cpp (FOUNDRY_LOCAL_BACKEND chooses another)",
    "scripted": "scripted answers (FOUNDRY_LOCAL_BACKEND=scripted)",
}

# What each port is for, the flag and variable that choose it, and where it is by default.
_PORTS = {
    "port": ("the app", "PORT", 7071),
    "foundry_port": ("the Foundry emulator", "FOUNDRY_PORT", 7072),
    "blob_port": ("blob storage", "BLOB_PORT", 10000),
    "queue_port": ("queue storage", "QUEUE_PORT", 10001),
    "table_port": ("table storage", "TABLE_PORT", 10002),
}


def main() -> int:
    """Run until Ctrl-C (0) or until a service fails (1, after saying which and why)."""
    arguments = parse_arguments()
    try:
        settings = arguments.app_dir / "local.settings.json"
        if not settings.exists():
            shutil.copy(SAMPLE_SETTINGS, settings)
        configured = {**read_local_settings(settings).values, **os.environ}
        run = LocalRun(arguments, configured)
        _check_ports(run, arguments)
        _end_on_signals()
        try:
            run.start()
            run.wait_for_exit()
        finally:
            run.stop()
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except (HostConfigurationError, ServiceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


class LocalRun:
    """The services of one run: configured services are used, all others are emulated."""

    def __init__(self, arguments: argparse.Namespace, configured: Mapping[str, str]) -> None:
        self._configured = configured
        self._started_at = time.monotonic()
        self._is_this_app = arguments.app_dir.resolve() == ROOT
        self._state_dir: Path = arguments.state_dir.resolve()
        self._log_dir = self._state_dir / "logs"
        ports = StoragePorts(arguments.blob_port, arguments.queue_port, arguments.table_port)
        self.azurite = (
            Azurite(self._state_dir / "azurite-data", self._log_dir, ports)
            if _wants_azurite(configured)
            else None
        )
        self.foundry = (
            None
            if configured.get("FOUNDRY_AGENT_SERVICE_ENDPOINT")
            else FoundryEmulator(
                self._log_dir,
                arguments.foundry_port,
                self._state_dir / "foundry" / "state.db",
                {k: v for k, v in configured.items() if k.startswith("FOUNDRY_LOCAL_")},
            )
        )
        launch = HostLaunch(
            port=arguments.port,
            environment=self._app_environment(),
            app_dir=arguments.app_dir.resolve(),
            grace_seconds=APP_GRACE_SECONDS,
            prefer_core_tools=True,
            creates_queues=self.azurite is not None,
        )
        self.app = FunctionsHost(launch, self._log_dir)

    def start(self) -> None:
        """Start everything and show what runs where; raises ServiceError when a service fails."""
        print("Starting ...", flush=True)
        backends = [service for service in (self.azurite, self.foundry) if service]
        for service in backends:
            service.start()
        for service in [*backends, self.app]:
            if service is self.app:
                service.start()
            service.wait_until_ready()
            print(f"  {service.name} is ready", flush=True)
        running = replace(self.running, key=self._client_key())
        print(render(running, time.monotonic() - self._started_at), flush=True)

    def wait_for_exit(self) -> NoReturn:
        """Block until a service ends, then raise a ServiceError with its name and exit code."""
        while True:
            # WNOWAIT leaves the exit code of the child to be read below.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            for service in (self.app, self.foundry, self.azurite):
                if service and service.exit_code is not None:
                    raise ServiceError(service.exit_report())

    def stop(self) -> None:
        """Stop the app first, so that it can release its work, then the services it uses."""
        self.app.stop(STOP_SECONDS)
        backends = [service for service in (self.foundry, self.azurite) if service]
        for service in backends:
            service.terminate()
        for service in backends:
            service.stop(STOP_SECONDS)

    def _client_key(self) -> str:
        """A client key of the app; empty where it takes none, or its storage is not emulated."""
        takes_keys = self._configured.get("AUTH_MODE", "") in client_key.MODES
        if not (takes_keys and self.azurite and self._is_this_app):
            return ""
        environment = {**self._configured, **self._app_environment()}
        return client_key.kept_key(self._state_dir / "client-key", self.app.url, environment)

    def _app_environment(self) -> dict[str, str]:
        """Return defaults for the settings that the developer has not set."""
        defaults = {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "PYTHON_ENABLE_INIT_INDEXING": "1",
            "CONSOLE": "on",
        }
        emulated: dict[str, str] = {}
        if self.foundry:
            defaults |= {
                "FOUNDRY_MODEL": DEFAULT_MODEL,
                "FOUNDRY_ENABLE_ENTRA_AGENT_ID": "true",
            }
            emulated |= {
                "FOUNDRY_AGENT_SERVICE_ENDPOINT": self.foundry.project_endpoint,
                "IDENTITY_ENDPOINT": self.foundry.token_endpoint,
                "IDENTITY_HEADER": IDENTITY_HEADER,
            }
        if self.azurite:
            emulated["AzureWebJobsStorage"] = self.azurite.connection_string
        unset = {name: v for name, v in defaults.items() if not self._configured.get(name)}
        return {**unset, **emulated}

    @property
    def running(self) -> Running:
        """What the screen shows."""
        configured = self._configured
        backend = configured.get("FOUNDRY_LOCAL_BACKEND") or "smollm2"
        return Running(
            app=self.app.url.replace("127.0.0.1", "localhost"),
            host="Core Tools" if self.app.runs_on_core_tools else "python -m local.host",
            foundry=(
                f"{self.foundry.project_endpoint}  (emulator)"
                if self.foundry
                else f"{configured['FOUNDRY_AGENT_SERVICE_ENDPOINT']}  (as configured, no emulator)"
            ),
            model=(
                _BACKENDS.get(backend, backend)
                if self.foundry
                else configured.get("FOUNDRY_MODEL") or DEFAULT_MODEL
            ),
            storage=(
                "Azurite on ports " + ", ".join(str(p) for p in vars(self.azurite.ports).values())
                if self.azurite
                else "as AzureWebJobsStorage says, no emulator"
            ),
            state=str(self._state_dir),
            logs=str(self._log_dir),
            has_console=configured.get("CONSOLE", "on").strip().lower() in _ON,
            advice=BETTER_MODELS if self.foundry and backend == "smollm2" else "",
        )


def _wants_azurite(configured: Mapping[str, str]) -> bool:
    storage = configured.get("AzureWebJobsStorage", "")
    by_identity = any(name.startswith("AzureWebJobsStorage__") for name in configured)
    return is_development_storage(storage) or not (storage or by_identity)


def _check_ports(run: LocalRun, arguments: argparse.Namespace) -> None:
    """Raise a one-line ServiceError for the first port that is in use."""
    needed = ["port"]
    needed += ["foundry_port"] if run.foundry else []
    needed += ["blob_port", "queue_port", "table_port"] if run.azurite else []
    for name in needed:
        port: int = getattr(arguments, name)
        purpose, variable, _ = _PORTS[name]
        if not is_free(port):
            raise ServiceError(
                f"Port {port}, for {purpose}, is in use. "
                f"Choose another one: make run {variable}={port + 10}"
            )


def _end_on_signals() -> None:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, and ignore further ones."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, end)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ports not given there come from the environment."""
    parser = argparse.ArgumentParser(prog="python -m local.run", description=__doc__)
    for name, (purpose, variable, default) in _PORTS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=os.environ.get(variable) or default,
            help=f"port for {purpose} (environment: {variable}; default {default})",
        )
    parser.add_argument(
        "--app-dir", type=Path, default=ROOT, help="folder of the function app (this repository)"
    )
    parser.add_argument(
        "--state-dir", type=Path, default=STATE_DIR, help="folder for data and logs (.local)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
