"""The parts that web, workers and timers share."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from ..audit.trail import AuditTrail
from ..config import AGENT_IS_LABEL, AppSettings
from ..config.spending import PriceTable, read_budgets, read_prices
from ..foundry.service import FoundryService
from ..identity.errors import CredentialSettingsError
from ..identity.resolution import choose_credential
from ..jobs.callbacks.policy import CallbackPolicy
from ..jobs.queue import Queues
from ..jobs.submission import JobStorage, Rules, Submission
from ..metering.budgets.budgets import Budgets
from ..metering.meter import Meter
from ..metering.owner_limits import OwnerLimits
from ..metering.rows import scope_key
from ..orchestration.foundry_backend import FoundryBackend
from ..orchestration.orchestrator import router
from ..orchestration.providers import ChatServers
from ..orchestration.routing import Router
from ..state.account import Tables
from ..state.client_keys import ClientKeys
from ..state.conversation_ids import ConversationIds
from ..state.jobs import Jobs
from ..state.lanes import Clock, Lanes
from ..state.threads import Threads
from ..turns.admission import Admission
from ..turns.options import OptionLimits
from ..turns.pipeline import Turns, TurnStorage
from ..turns.recording import Recording

log = logging.getLogger(__name__)


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


def build_core(
    settings: AppSettings, tables: Tables, queues: Queues, foundry: FoundryService, clock: Clock
) -> Core:
    """Build the shared parts and connect them to each other."""
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
