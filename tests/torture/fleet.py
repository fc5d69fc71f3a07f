"""The workers of a run, and the hand that kills them."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.processes import Command, Service, answers_http, free_port
from local.services import IDENTITY_HEADER, PROJECT_PATH, ROOT, FunctionsHost, HostLaunch
from tests.support import forking

from .plan import Options

LONGEST_ABSENCE_SECONDS = 5.0
"""Between the death of a worker and its next start."""

POLL_SECONDS = 0.2


class WatchedFoundry(Service):
    """The emulator of `watched_foundry` in a process of its own."""

    def __init__(self, log_dir: Path, token_seconds: float) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.project_endpoint = self.url + PROJECT_PATH
        super().__init__(
            Command(
                "Watched Foundry emulator",
                [sys.executable, "-m", "tests.torture.watched_foundry", str(port)],
                log_dir / "foundry.log",
                lambda: answers_http(port, "/_emulator/health"),
                {
                    "FOUNDRY_LOCAL_IDENTITY_HEADER": IDENTITY_HEADER,
                    "FOUNDRY_LOCAL_BACKEND": "scripted",
                    "FOUNDRY_LOCAL_TOKEN_DELAY": str(token_seconds),
                },
                ROOT,
                forking.spawn,
            )
        )


@contextmanager
def running(service: Service) -> Generator[None]:
    """Run a service for the time of the block."""
    service.start()
    try:
        service.wait_until_ready()
        yield
    finally:
        service.stop()


@dataclass
class Fleet:
    """Workers that are started, killed and started again."""

    workers: list[FunctionsHost]
    chance: random.Random
    killed: int = 0
    deaths: int = field(default=0, init=False)
    """Workers that ended although nobody killed them."""

    @classmethod
    def of(cls, options: Options, environment: dict[str, str], folder: Path) -> Fleet:
        """Workers whose clocks disagree by up to the skew of the options."""
        app_dir = folder / "app"
        app_dir.mkdir()
        shutil.copy(ROOT / "host.json", app_dir)
        shutil.copy(Path(__file__).with_name("worker_app.py"), app_dir / "function_app.py")
        steps = max(options.workers - 1, 1)
        workers: list[FunctionsHost] = []
        for number in range(options.workers):
            own = {
                "TORTURE_SKEW": str(options.skew * (number / steps - 0.5)),
                "TORTURE_COPIES": str(options.copies),
                "TORTURE_SEED": str(options.seed * 1000 + number),
                "AzureFunctionsJobHost__logging__logLevel__default": "Warning",
            }
            launch = HostLaunch(
                environment={**environment, **own}, app_dir=app_dir, spawn=forking.spawn
            )
            workers.append(FunctionsHost(launch, folder / f"worker-{number}"))
        return cls(workers, random.Random(options.seed))  # noqa: S311 - not for secrets

    @contextmanager
    def running(self) -> Generator[None]:
        """Run all workers for the time of the block."""
        try:
            for worker in self.workers:
                worker.start()
            for worker in self.workers:
                worker.wait_until_ready()
            yield
        finally:
            for worker in self.workers:
                worker.stop()

    async def torment(self, options: Options, progress: Callable[[], Awaitable[float]]) -> None:
        """Kill workers at random, evenly over the work, of which ``progress`` tells the share."""
        each = options.kills_until / (options.kills + 1)
        for number in range(options.kills):
            due = (number + self.chance.random()) * each
            while await progress() < due:
                await asyncio.sleep(POLL_SECONDS)
            worker = self.chance.choice(self.workers)
            self.deaths += worker.exit_code is not None
            worker.kill()
            self.killed += 1
            await asyncio.sleep(self.chance.uniform(0, LONGEST_ABSENCE_SECONDS))
            worker.start()

    def count_deaths(self) -> int:
        """How many workers ended by themselves so far."""
        return self.deaths + sum(worker.exit_code is not None for worker in self.workers)
