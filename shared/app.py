"""Builds every part of the app once per process, and closes them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.storage.queue.aio import QueueServiceClient

from .audit.reading import AuditReader
from .audit.trail import AuditTrail
from .config import AGENT_IS_LABEL, POISON_SUFFIX, AppSettings, SettingsError
from .config.terms import PriceTable, read_budgets, read_prices
from .foundry.errors import FoundryError
from .foundry.service import FoundryService
from .identity.errors import CredentialSettingsError
from .identity.resolution import choose_credential, token_credential
from .jobs.callbacks.delivery import Deliveries
from .jobs.callbacks.policy import CallbackPolicy
from .jobs.callbacks.webhooks import Webhooks
from .jobs.cancellation import Cancellation
from .jobs.intake import Intake
from .jobs.queue import AzureQueues, Queues
from .jobs.runner import Runner
from .jobs.submission import Rules, Submission
from .jobs.sweep import Sweeper
from .metering.budgets.budgets import Budgets
from .metering.budgets.cleanup import remove_past_counters
from .metering.gauges import Gauges
from .metering.meter import Meter
from .metering.owner_limits import OwnerLimits
from .metering.reading import MetricsReader
from .metering.rebuilding import Rebuilder
from .metering.roll_up import RollUp
from .metering.rows import scope_key
from .observability import probes
from .observability.readiness import Dependency, Readiness
from .observability.traced_table import TracedTable
from .orchestration.engine import Orchestration
from .orchestration.orchestrator import router
from .orchestration.providers import ChatServers
from .orchestration.table_conversations import Storage, TableConversations
from .state.account import DEVELOPMENT_STORAGE, Tables, connection_string, open_tables
from .state.clock import StorageClock
from .state.errors import StateError
from .state.idempotency import IdempotencyKeys
from .state.jobs import Jobs
from .state.lanes import Clock, Lanes
from .state.table import Table
from .state.threads import Threads
from .threads.erasure import Erasures, Stores
from .threads.removal import Removal
from .threads.retention import Retention
from .turns.admission import Admission
from .turns.background import Background
from .turns.options import OptionLimits
from .turns.pipeline import Turns
from .turns.recording import Recording

log = logging.getLogger(__name__)

_QUEUE_OPTIONS: dict[str, Any] = {
    "connection_timeout": 5,
    "read_timeout": 10,
    "initial_backoff": 1,
    "increment_base": 1,
    "retry_total": 2,
}
"""A caller waits for a wake-up to be put; where the queue is down, the sweeper sees to it."""

NO_STORAGE = (
    f"AzureWebJobsStorage is not set: give it a connection string (locally {DEVELOPMENT_STORAGE}),"
    " or set AzureWebJobsStorage__tableServiceUri and AzureWebJobsStorage__queueServiceUri to"
    " sign in with the app's identity"
)
NO_IDENTITY = "AZURE_CLIENT_ID leads to no identity: assign a managed identity, or run 'az login'"

NO_ROW = ("$ready", "probe")
"""Partition and key of a row that does not exist: the cheapest read."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that handlers work with."""

    settings: AppSettings
    foundry: FoundryService
    threads: Threads
    turns: Turns
    orchestration: Orchestration
    background: Background
    jobs: Jobs
    idempotency: IdempotencyKeys
    submission: Submission
    cancellation: Cancellation
    inlet: Intake
    runner: Runner
    deliveries: Deliveries
    sweeper: Sweeper
    audit: AuditTrail
    audit_reader: AuditReader
    meter: Meter
    limits: OwnerLimits
    budgets: Budgets
    metrics_reader: MetricsReader
    gauges: Gauges
    roll_up: RollUp
    rebuilder: Rebuilder
    removal: Removal
    erasures: Erasures
    retention: Retention
    readiness: Readiness
    prices: PriceTable
    option_limits: OptionLimits
    clock: Clock
    _table: Table
    _metrics: Table
    _queues: Queues
    _webhooks: Webhooks
    _storage_identity: AsyncTokenCredential | None = None
    """What signs in to the storage account, where that takes an identity."""

    @classmethod
    def build(
        cls,
        settings: AppSettings,
        *,
        tables: Tables,
        queues: Queues,
        foundry: FoundryService,
        clock: Clock,
    ) -> Services:
        """Wire the parts together; nothing is sent yet."""
        table = TracedTable(tables.state, settings.storage.state_table)
        audit_table = TracedTable(tables.audit, settings.storage.audit_table)
        audit, meter = AuditTrail(audit_table, _foundry_identity(settings)), Meter(tables.metrics)
        prices = read_prices(settings.spending.prices)
        budgets = Budgets(read_budgets(settings.spending.budgets), tables.metrics, clock)
        hold = settings.storage.lease_seconds
        lanes = Lanes(table, clock, hold)
        threads = Threads(table, lanes, clock)
        jobs = Jobs(table, lanes)
        admission = Admission(
            budgets,
            prices,
            foundry.config,
            settings.access.known_departments,
            foundry.tool_definitions,
        )
        recording = Recording(
            audit,
            meter,
            admission,
            content=settings.storage.record_content,
        )
        turns = Turns(
            foundry, table, lanes, clock=clock, wake_lane=queues.wake, recording=recording
        )
        owner_limits = OwnerLimits(settings.limits, lambda owner: meter.in_flight(scope_key(owner)))
        storage = Storage(table, lanes, clock, queues.wake, recording, owner_limits.new_thread)
        servers = ChatServers(settings.models, settings.foundry, settings.identity)
        orchestration = Orchestration(router(foundry, servers), TableConversations(storage))
        outlets, webhooks = CallbackPolicy(settings.outlets), Webhooks(settings.outlets)
        limits = OptionLimits.of(settings)
        rules = Rules(limits, outlets)
        submission = Submission(jobs, threads, queues, clock, rules, recording)
        deliveries = Deliveries(table, jobs, queues, clock, outlets=outlets, webhooks=webhooks)
        runner = Runner(turns, jobs, lanes, queues, clock=clock, settings=settings.jobs)
        inlet = Intake(submission, table, queues, audit, clock=clock, settings=settings)
        removal = Removal(table, threads, foundry, clock, hold)
        return cls(
            settings=settings,
            foundry=foundry,
            threads=threads,
            turns=turns,
            orchestration=orchestration,
            background=Background(),
            jobs=jobs,
            idempotency=IdempotencyKeys(
                table, clock, record_content=recording.content, hold_seconds=hold
            ),
            submission=submission,
            cancellation=Cancellation(jobs, table, queues, clock),
            inlet=inlet,
            runner=runner,
            deliveries=deliveries,
            removal=removal,
            erasures=Erasures(
                Stores(table, tables.metrics, meter),
                removal,
                lanes,
                foundry=foundry,
                audit=audit,
                clock=clock,
            ),
            retention=Retention(table, clock, settings.retention),
            sweeper=Sweeper(table, jobs, lanes, queues, clock),
            audit=audit,
            audit_reader=AuditReader(audit_table),
            meter=meter,
            limits=owner_limits,
            budgets=budgets,
            metrics_reader=MetricsReader(tables.metrics, meter, clock),
            gauges=Gauges(table, clock),
            roll_up=RollUp(tables.metrics, clock),
            rebuilder=Rebuilder(table, tables.metrics, clock),
            readiness=Readiness(_dependencies(settings, foundry, orchestration, table, queues)),
            prices=prices,
            option_limits=limits,
            clock=clock,
            _table=table,
            _metrics=tables.metrics,
            _queues=queues,
            _webhooks=webhooks,
        )

    @classmethod
    def connect(cls, settings: AppSettings) -> Services:
        """Build the parts on Azure Storage and Foundry as the settings say.

        Raises:
            SettingsError: if no storage account is configured.
        """
        storage = settings.storage
        identity = None if storage.connection_string else _storage_identity(settings)
        clock = StorageClock()
        if connection := connection_string(storage):
            service = QueueServiceClient.from_connection_string(connection, **_QUEUE_OPTIONS)
        else:
            uri = storage.queue_service_uri
            service = QueueServiceClient(uri, credential=identity, **_QUEUE_OPTIONS)
        services = cls.build(
            settings,
            tables=open_tables(storage, identity, clock),
            queues=AzureQueues(
                service, settings.jobs.lanes_queue, settings.outlets.deliveries_queue
            ),
            foundry=FoundryService(settings.foundry, settings.identity),
            clock=clock,
        )
        return replace(services, _storage_identity=identity)

    async def save(self) -> None:
        """Write what is only in memory: metrics, and what was spent of budgets."""
        await asyncio.gather(self.meter.flush(), self.budgets.renew())

    async def aclose(self) -> None:
        """Let running turns end, then close all connections."""
        await asyncio.gather(self.removal.aclose(), self.erasures.aclose())
        await asyncio.gather(self.turns.aclose(), self.background.aclose())
        await self.orchestration.aclose()
        await self.readiness.aclose()
        await self.budgets.aclose()
        await asyncio.gather(
            self.foundry.aclose(),
            self._webhooks.aclose(),
            self._table.aclose(),
            self._queues.aclose(),
            self.audit.aclose(),
            self.meter.aclose(),
        )
        if self._storage_identity is not None:
            await self._storage_identity.close()

    async def delete_old_records(self) -> None:
        """Delete what has been kept for long enough."""
        await self.retention.run()
        await remove_past_counters(self._metrics, self.clock())
        days, today = self.settings.retention, self.clock().date()
        if days.audit_days:
            await self.audit_reader.days.remove_before(today - timedelta(days=days.audit_days))
        if days.metrics_days:
            await self.roll_up.remove_before(today - timedelta(days=days.metrics_days))


def _dependencies(
    settings: AppSettings,
    foundry: FoundryService,
    orchestration: Orchestration,
    table: Table,
    queues: Queues,
) -> dict[str, Dependency]:
    """What the app depends on, by the names that readiness reports."""
    names = (
        settings.jobs.intake_queue,
        settings.jobs.lanes_queue,
        settings.outlets.deliveries_queue,
    )
    poison = [name + POISON_SUFFIX for name in names]
    label = AGENT_IS_LABEL if foundry.config.agent_is_label else ""
    return {
        "foundry": probes.answers(
            foundry.check, "FOUNDRY_AGENT_SERVICE_ENDPOINT", FoundryError, warning=label
        ),
        "credential": probes.answers(foundry.authenticate, "AZURE_CLIENT_ID", FoundryError),
        "table": probes.answers(partial(table.get, *NO_ROW), probes.STORAGE, StateError),
        "queues": probes.lag(queues.oldest_seconds, names, StateError),
        "poison": probes.poison(queues.count, poison, StateError),
        "models": probes.breakers(orchestration.breaker_states),
    }


def _foundry_identity(settings: AppSettings) -> str | None:
    """Say how Foundry will be called; gives the client id of the Entra identity acted under."""
    try:
        choice = choose_credential(settings.foundry, settings.identity)
    except CredentialSettingsError as error:
        log.error("Foundry cannot be called: %s", error)  # noqa: TRY400 - the text says it all
        return None
    log.info("Foundry will be called with the %s", choice)
    if settings.foundry.agent_is_label:
        log.warning("%s", AGENT_IS_LABEL)
    return choice.client_id


def _storage_identity(settings: AppSettings) -> AsyncTokenCredential:
    storage = settings.storage
    if not (storage.table_service_uri and storage.queue_service_uri):
        raise SettingsError([NO_STORAGE])
    identity = token_credential(settings.identity)
    if identity is None:
        raise SettingsError([NO_IDENTITY])
    return identity
