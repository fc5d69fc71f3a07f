"""Builds every part of the app once per process and closes them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial

from .api.audit import AuditApi
from .api.jobs import JobsApi
from .api.keys import KeysApi
from .api.me import MeApi, OwnDataApi
from .api.messages import MessagesApi
from .api.metrics import MetricsApi
from .api.models import ModelsApi
from .api.operations import OperationsApi
from .api.orchestrate import OrchestrateApi
from .api.reference import ReferenceApi
from .api.routes import Api
from .api.threads import ThreadsApi
from .api.tools import ToolsApi
from .api.usage import UsageApi
from .audit.reading import AuditReader
from .audit.trail import AuditTrail
from .config import AGENT_IS_LABEL, POISON_SUFFIX, AppSettings, AuthMode, SettingsError
from .config.spending import PriceTable, read_budgets, read_prices
from .foundry.errors import FoundryError
from .foundry.service import FoundryService
from .http.client_keys import KeyVerifier
from .http.principal import Access
from .http.serve import Edge
from .identity.credentials import EntraCredential
from .identity.errors import CredentialSettingsError
from .identity.resolution import choose_credential, token_credential
from .jobs.callbacks.delivery import Deliveries
from .jobs.callbacks.policy import CallbackPolicy
from .jobs.callbacks.webhooks import Webhooks
from .jobs.cancellation import Cancellation
from .jobs.intake import Intake
from .jobs.queue import Queues, open_queues
from .jobs.runner import Runner
from .jobs.submission import JobStorage, Rules, Submission
from .jobs.sweep import Sweeper
from .metering.budgets.account import remove_past_rows
from .metering.budgets.budgets import Budgets
from .metering.gauges import Gauges
from .metering.meter import Meter
from .metering.owner_limits import OwnerLimits
from .metering.reading import MetricsReader
from .metering.roll_up import RollUp
from .metering.rows import scope_key
from .observability import probes
from .observability.readiness import Dependency, Readiness
from .observability.traced_table import TracedTable
from .orchestration.catalogue import Catalogue
from .orchestration.foundry_backend import FoundryBackend
from .orchestration.orchestrator import router
from .orchestration.providers import ChatServers
from .orchestration.routing import Router
from .state.account import DEVELOPMENT_STORAGE, Tables, open_tables
from .state.client_keys import ClientKeys
from .state.clock import StorageClock
from .state.conversation_ids import ConversationIds
from .state.days import DayIndex
from .state.errors import StateError
from .state.idempotency import IdempotencyKeys
from .state.jobs import Jobs
from .state.lanes import Clock, Lanes
from .state.signing import STORAGE_SCOPE, SignIn
from .state.threads import Threads
from .threads.erasure import Erasures, Stores
from .threads.removal import Removal
from .threads.retention import Retention
from .turns.admission import Admission
from .turns.options import OptionLimits
from .turns.pipeline import Turns, TurnStorage
from .turns.recording import Recording

log = logging.getLogger(__name__)

NO_STORAGE = (
    f"AzureWebJobsStorage is not set: give it a connection string (locally {DEVELOPMENT_STORAGE}),"
    " or set AzureWebJobsStorage__tableServiceUri and AzureWebJobsStorage__queueServiceUri to"
    " sign in with the app's identity"
)
NO_ROW = ("$ready", "probe")
"""Partition and row key of a row that does not exist, which is the cheapest read."""

NO_IDENTITY = (
    "No identity was found for AZURE_CLIENT_ID: assign a managed identity, or run 'az login'"
)


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that more than one of web, workers and timers use."""

    settings: AppSettings
    clock: Clock
    tables: Tables
    queues: Queues
    foundry: FoundryService
    lanes: Lanes
    threads: Threads
    jobs: Jobs
    turns: Turns
    router: Router
    submission: Submission
    audit: AuditTrail
    meter: Meter
    budgets: Budgets
    prices: PriceTable
    limits: OwnerLimits
    option_limits: OptionLimits
    client_keys: ClientKeys

    async def aclose(self) -> None:
        """Wait for running turns, then close all connections."""
        await self.turns.aclose()
        await self.router.aclose()
        await self.budgets.aclose()
        await asyncio.gather(
            self.foundry.aclose(),
            self.tables.state.aclose(),
            self.queues.aclose(),
            self.audit.aclose(),
            self.meter.aclose(),
        )


@dataclass(frozen=True, slots=True)
class Web:
    """The parts that answer HTTP requests."""

    edge: Edge
    api: Api


@dataclass(frozen=True, slots=True)
class Workers:
    """The parts that process queue messages."""

    intake: Intake
    runner: Runner
    deliveries: Deliveries


@dataclass(frozen=True, slots=True)
class Timers:
    """The parts that run on a schedule."""

    sweeper: Sweeper
    deliveries: Deliveries
    removal: Removal
    erasures: Erasures
    retention: Retention
    audit_days: DayIndex
    roll_up: RollUp
    core: Core

    async def delete_old_records(self) -> None:
        """Delete the rows whose retention period is over."""
        days, now = self.core.settings.retention, self.core.clock()
        await self.retention.run()
        await remove_past_rows(self.core.tables.metrics, now)
        if days.audit_days:
            await self.audit_days.remove_before(now.date() - timedelta(days=days.audit_days))
        if days.metrics_days:
            await self.roll_up.remove_before(now.date() - timedelta(days=days.metrics_days))


@dataclass(frozen=True, slots=True)
class Services:
    """The whole app: HTTP handlers, queue workers and timers."""

    core: Core
    web: Web
    workers: Workers
    timers: Timers
    _readiness: Readiness
    _webhooks: Webhooks
    _sign_in: SignIn | None = None
    """Signs in to the storage account; None where a connection string is used."""

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
        """Build the parts and connect them to each other; nothing is sent yet."""
        storage = settings.storage
        traced = Tables(
            TracedTable(tables.state, storage.state_table),
            TracedTable(tables.audit, storage.audit_table),
            tables.metrics,
        )
        core = _core(settings, traced, queues, foundry, clock)
        readiness = Readiness(_dependencies(core))
        webhooks = Webhooks(settings.callbacks)
        deliveries = Deliveries(
            traced.state,
            core.jobs,
            queues,
            clock,
            callbacks=CallbackPolicy(settings.callbacks),
            webhooks=webhooks,
        )
        timers = _timers(core, deliveries)
        return cls(
            core=core,
            web=_web(core, timers, readiness),
            workers=_workers(core, deliveries),
            timers=timers,
            _readiness=readiness,
            _webhooks=webhooks,
        )

    @classmethod
    def connect(cls, settings: AppSettings) -> Services:
        """Build the parts on Azure Storage and Foundry from the settings.

        Raises:
            SettingsError: if no storage account is configured.
        """
        storage = settings.storage
        sign_in = None if storage.connection_string else _sign_in(settings)
        clock = StorageClock()
        names = (settings.jobs.lanes_queue, settings.callbacks.deliveries_queue)
        services = cls.build(
            settings,
            tables=open_tables(storage, sign_in, clock),
            queues=open_queues(storage, sign_in, *names),
            foundry=FoundryService(settings.foundry, settings.identity),
            clock=clock,
        )
        return replace(services, _sign_in=sign_in)

    async def save(self) -> None:
        """Write what is only in memory: metrics and the spending of budgets."""
        await asyncio.gather(self.core.meter.flush(), self.core.budgets.renew())

    async def aclose(self) -> None:
        """Wait for running turns, leave deletions to the sweeper, and close all connections."""
        await asyncio.gather(
            self.web.edge.access.keys.aclose(),
            self.timers.removal.aclose(),
            self.timers.erasures.aclose(),
        )
        await self._readiness.aclose()
        await asyncio.gather(self.core.aclose(), self._webhooks.aclose())
        if self._sign_in is not None:
            await self._sign_in.bearer.aclose()


def _core(
    settings: AppSettings, tables: Tables, queues: Queues, foundry: FoundryService, clock: Clock
) -> Core:
    table, metrics = tables.state, tables.metrics
    lanes = Lanes(table, clock, settings.storage.lease_seconds)
    threads, jobs = Threads(table, lanes, clock), Jobs(table, lanes)
    audit = AuditTrail(tables.audit, table, _foundry_identity(settings))
    meter = Meter(metrics)
    prices = read_prices(settings.spending.prices)
    budgets = Budgets(read_budgets(settings.spending.budgets), metrics, clock)
    departments = settings.access.known_departments
    admission = Admission(budgets, prices, foundry.config, departments, foundry.tool_definitions)
    recording = Recording(audit, meter, admission, content=settings.storage.record_content)
    limits = OwnerLimits(settings.limits, lambda owner: meter.in_flight(scope_key(owner)))
    option_limits = OptionLimits.of(settings)
    ids = ConversationIds(table, lanes, clock, limits.new_thread)
    models = router(foundry, ChatServers(settings.models, settings.foundry, settings.identity))
    keeps_history = _keeps_history(settings, models)
    storage = TurnStorage(table, lanes, clock, queues.wake, ids, keeps_history)
    job_storage = JobStorage(jobs, threads, ids)
    rules = Rules(option_limits, CallbackPolicy(settings.callbacks))
    return Core(
        settings=settings,
        clock=clock,
        tables=tables,
        queues=queues,
        foundry=foundry,
        lanes=lanes,
        threads=threads,
        jobs=jobs,
        turns=Turns(FoundryBackend(foundry), models, storage, recording),
        router=models,
        submission=Submission(job_storage, queues, clock, rules, recording),
        audit=audit,
        meter=meter,
        budgets=budgets,
        prices=prices,
        limits=limits,
        option_limits=option_limits,
        client_keys=ClientKeys(table, clock),
    )


def _keeps_history(settings: AppSettings, models: Router) -> bool:
    """Whether exchanges are stored, for models that do not keep the history of a thread."""
    foundry_keeps_all = models.only_foundry and settings.foundry.enable_stateful_threads
    return settings.storage.record_content and not foundry_keeps_all


def _web(core: Core, timers: Timers, readiness: Readiness) -> Web:
    verifier = KeyVerifier(core.client_keys, core.clock)
    access = Access(core.settings.access, verifier)
    edge = Edge(access, core.limits, core.meter, core.audit, core.clock)
    return Web(edge, _api(core, timers, readiness, verifier))


def _api(core: Core, timers: Timers, readiness: Readiness, verifier: KeyVerifier) -> Api:
    settings, clock, table, limits = core.settings, core.clock, core.tables.state, core.limits
    keys = IdempotencyKeys(
        table,
        clock,
        record_content=settings.storage.record_content,
        hold_seconds=settings.storage.lease_seconds,
    )
    reader = MetricsReader(core.tables.metrics, core.meter, clock)
    messages = MessagesApi(core.turns, keys, core.option_limits, settings)
    removal, cancellation = timers.removal, Cancellation(core.jobs, table, core.queues, clock)
    return Api(
        audit=AuditApi(AuditReader(core.tables.audit, core.tables.state), clock),
        jobs=JobsApi(core.jobs, core.submission, cancellation, limits, keys),
        keys=KeysApi(
            core.client_keys, verifier, keys, settings.access.mode, prices=core.prices, clock=clock
        ),
        me=MeApi(core.budgets, settings.access.known_departments, limits),
        messages=messages,
        metrics=MetricsApi(reader, core.meter, Gauges(table, clock), core.router),
        models=ModelsApi(Catalogue(core.router, settings, core.prices, core.option_limits)),
        operations=OperationsApi(readiness, reader, core.prices),
        orchestrate=OrchestrateApi(messages),
        own_data=OwnDataApi(timers.erasures),
        reference=ReferenceApi(_api_document(settings.access.mode)),
        threads=ThreadsApi(core.threads, core.foundry, removal, messages, limits, keys, clock),
        tools=ToolsApi(core.foundry),
        usage=UsageApi(reader, core.prices, clock),
    )


def _api_document(mode: AuthMode) -> Callable[[], bytes]:
    """A function that builds the API document on its first call."""

    @cache
    def build() -> bytes:
        from .api.document import document_file

        return document_file(mode)

    return build


def _workers(core: Core, deliveries: Deliveries) -> Workers:
    settings, clock, queues = core.settings, core.clock, core.queues
    return Workers(
        intake=Intake(
            core.submission, core.tables.state, queues, core.audit, clock=clock, settings=settings
        ),
        runner=Runner(
            core.turns, core.jobs, core.lanes, queues, clock=clock, settings=settings.jobs
        ),
        deliveries=deliveries,
    )


def _timers(core: Core, deliveries: Deliveries) -> Timers:
    table, metrics, clock = core.tables.state, core.tables.metrics, core.clock
    lanes, foundry = core.lanes, core.foundry
    hold_seconds = core.settings.storage.lease_seconds
    removal = Removal(table, core.threads, foundry, clock, hold_seconds)
    stores = Stores(table, metrics, core.meter)
    return Timers(
        sweeper=Sweeper(table, core.jobs, lanes, core.queues, clock),
        deliveries=deliveries,
        removal=removal,
        erasures=Erasures(stores, removal, lanes, foundry=foundry, audit=core.audit, clock=clock),
        retention=Retention(table, clock, core.settings.retention),
        audit_days=DayIndex(core.tables.audit),
        roll_up=RollUp(metrics, clock),
        core=core,
    )


def _dependencies(core: Core) -> dict[str, Dependency]:
    """The checks of the app's dependencies, by the names in the readiness report."""
    jobs, foundry, queues = core.settings.jobs, core.foundry, core.queues
    names = (jobs.intake_queue, jobs.lanes_queue, core.settings.callbacks.deliveries_queue)
    poison = [name + POISON_SUFFIX for name in names]
    label = AGENT_IS_LABEL if foundry.config.agent_is_label else ""
    return {
        "foundry": probes.answers(
            foundry.check, "FOUNDRY_AGENT_SERVICE_ENDPOINT", FoundryError, warning=label
        ),
        "credential": probes.answers(foundry.authenticate, "AZURE_CLIENT_ID", FoundryError),
        "table": probes.answers(
            partial(core.tables.state.get, *NO_ROW), probes.STORAGE, StateError
        ),
        "queues": probes.lag(queues.oldest_seconds, names, StateError),
        "poison": probes.poison(queues.count, poison, StateError),
        "models": probes.breakers(core.router.breaker_states),
    }


def _foundry_identity(settings: AppSettings) -> str | None:
    """Log which credential calls Foundry; returns the client id of its Entra identity, if any."""
    try:
        choice = choose_credential(settings.foundry, settings.identity)
    except CredentialSettingsError as error:
        log.error("Foundry cannot be called: %s", error)  # noqa: TRY400 - the text says it all
        return None
    log.info("Foundry will be called with the %s", choice)
    if settings.foundry.agent_is_label:
        log.warning("%s", AGENT_IS_LABEL)
    return choice.client_id


def _sign_in(settings: AppSettings) -> SignIn:
    storage = settings.storage
    if not (storage.table_service_uri and storage.queue_service_uri):
        raise SettingsError([NO_STORAGE])
    tokens = token_credential(settings.identity)
    if tokens is None:
        raise SettingsError([NO_IDENTITY])
    return SignIn(tokens, EntraCredential(tokens, STORAGE_SCOPE))
