"""One run from the first process started to the line of figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from azure.data.tables.aio import TableClient
from azure.storage.queue.aio import QueueServiceClient

from local.services import IDENTITY_HEADER, azurite
from shared.config import AppSettings, JobSettings, StorageSettings

from .audit import Audit, Findings, read_conversations, table_rows
from .fleet import Fleet, WatchedFoundry, running
from .instance import Disturbance, connect
from .plan import Lane, Options, plan
from .producer import Producer

TABLE = "torture"
AUDIT = "tortureaudit"
INLET = "torture-jobs"
LANES = "torture-lanes"
LOOK_SECONDS = 1.0

FAULTS: list[dict[str, Any]] = [
    {"kind": "work_then_drop", "operation": "responses.create"},
    {"kind": "user_item_then_drop", "operation": "responses.create", "after": 0.3},
    {"kind": "drop", "operation": "*"},
    {"kind": "status", "operation": "*", "status": 429, "headers": {"retry-after-ms": "200"}},
    {"kind": "status", "operation": "responses.create", "status": 500},
    {"kind": "status", "operation": "*", "status": 503},
]


@dataclass(frozen=True)
class Report:
    """What a run did and found."""

    options: Options
    findings: Findings
    seconds: float
    turns: int
    """Requests for an answer that reached Foundry."""
    faults: int
    """Those and others that a fault struck."""
    killed: int
    died: int
    """Workers that ended although nobody killed them."""

    @property
    def passed(self) -> bool:
        """Whether nothing happened that must not."""
        return self.findings.is_clean and self.died == 0

    def __str__(self) -> str:
        o, f = self.options, self.findings
        return (
            f"torture: seed {o.seed}, {o.jobs} jobs, {o.lanes} lanes, {o.workers} workers, "
            f"{self.killed} kills, wake-ups x1-{o.copies}, clocks {o.skew:g} s apart, "
            f"{self.faults} faults in {self.turns} turns, {self.seconds:.0f} s: "
            f"lost {f.lost}, duplicated {f.duplicated}, out of order {f.out_of_order}, "
            f"two at once {f.two_at_once}, not terminal {f.not_terminal}, "
            f"failed {f.failed}, workers died {self.died}"
        )


@dataclass(frozen=True)
class Site:
    """Where a run takes place."""

    storage: str
    foundry: WatchedFoundry
    folder: Path
    lease: float = 60.0
    """Seconds of a lease."""

    @property
    def settings(self) -> AppSettings:
        """The settings of the instance that submits."""
        return AppSettings(
            storage=StorageSettings(
                connection_string=self.storage,
                state_table=TABLE,
                audit_table=AUDIT,
                lease_seconds=self.lease,
            ),
            jobs=JobSettings(intake_queue=INLET, lanes_queue=LANES),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the workers."""
        return {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsStorage": self.storage,
            "STATE_TABLE_NAME": TABLE,
            "AUDIT_TABLE_NAME": AUDIT,
            "LEASE_SECONDS": str(self.lease),
            "JOBS_QUEUE_NAME": INLET,
            "LANES_QUEUE_NAME": LANES,
            "FOUNDRY_AGENT_SERVICE_ENDPOINT": self.foundry.project_endpoint,
            "FOUNDRY_AGENT_SERVICE_API_KEY": "",
            "FOUNDRY_AGENT_ID": "",
            "IDENTITY_ENDPOINT": f"{self.foundry.url}/msi/token",
            "IDENTITY_HEADER": IDENTITY_HEADER,
        }


@contextmanager
def site(folder: Path, token_seconds: float = 0.01, lease: float = 60.0) -> Generator[Site]:
    """Storage and Foundry for one run; the model takes ``token_seconds`` for each word."""
    foundry = WatchedFoundry(folder, token_seconds)
    with azurite(folder / "azurite", folder) as storage, running(foundry):
        yield Site(storage.connection_string, foundry, folder, lease)


def torture(options: Options, folder: Path) -> Report:
    """Run once, with all files in ``folder``."""
    with site(folder, lease=options.lease) as where:
        asyncio.run(make_storage(where.storage))
        fleet = Fleet.of(options, where.environment, folder)
        with fleet.running():
            return asyncio.run(_Run(options, where, fleet).to_its_end())


async def make_storage(connection_string: str) -> None:
    """Make the table and the queues, which a young app would be making for the first minute."""
    async with TableClient.from_connection_string(connection_string, TABLE) as table:
        await table.create_table()
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        for name in (INLET, LANES):
            await queues.create_queue(name)


class _Run:
    def __init__(self, options: Options, where: Site, fleet: Fleet) -> None:
        self._options = options
        self._site = where
        self._fleet = fleet
        self._lanes: list[Lane] = plan(options)
        self._control = httpx.AsyncClient(base_url=where.foundry.url, timeout=60)

    async def to_its_end(self) -> Report:
        started = time.monotonic()
        async with self._control:
            await self._arm_faults()
            await asyncio.gather(
                self._produce(), self._fleet.torment(self._options, self._progress)
            )
            async with TableClient.from_connection_string(self._site.storage, TABLE) as table:
                audit = Audit(table_rows(table))
                await self._wait(audit, started + self._options.deadline)
                seconds = time.monotonic() - started
                return await self._report(audit, seconds)

    async def _produce(self) -> None:
        o, where = self._options, self._site
        services = connect(where.settings, Disturbance(o.skew / 2, o.copies, o.seed))
        intake = Producer.intake_client(where.storage, INLET)
        try:
            async with intake:
                await Producer(services, intake, o.seed).produce(self._lanes)
        finally:
            await services.aclose()

    async def _arm_faults(self) -> None:
        probability = self._options.fault_rate / len(FAULTS)
        for fault in FAULTS:
            armed = {**fault, "times": None, "probability": probability}
            (await self._control.post("/_emulator/faults", json=armed)).raise_for_status()

    async def _watch(self) -> dict[str, int]:
        return (await self._control.get("/_watch")).raise_for_status().json()

    async def _progress(self) -> float:
        """The share of the messages that reached Foundry."""
        return (await self._watch())["turns"] / sum(lane.messages for lane in self._lanes)

    async def _wait(self, audit: Audit, deadline: float) -> None:
        while await audit.count_open(self._lanes) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)

    async def _report(self, audit: Audit, seconds: float) -> Report:
        faults = (await self._control.get("/_emulator/faults")).raise_for_status().json()["faults"]
        (await self._control.delete("/_emulator/faults")).raise_for_status()
        project = f"{self._site.foundry.project_endpoint}/openai/v1/"
        token = {"Authorization": "Bearer local-token"}
        async with httpx.AsyncClient(base_url=project, headers=token, timeout=60) as foundry:
            said = await read_conversations(foundry)
        findings = await audit.inspect(self._lanes, said)
        watched = await self._watch()
        findings.two_at_once = watched["two_at_once"]
        return Report(
            self._options,
            findings,
            seconds,
            turns=watched["turns"],
            faults=sum(fault["struck"] for fault in faults),
            killed=self._fleet.killed,
            died=self._fleet.count_deaths(),
        )
