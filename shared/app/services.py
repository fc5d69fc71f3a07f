"""Builds every part of the app once per process, connects them, and closes them all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from ..config import AppSettings, SettingsError
from ..foundry.service import FoundryService
from ..identity.credentials import EntraCredential
from ..identity.resolution import token_credential
from ..jobs.callbacks.delivery import Deliveries
from ..jobs.callbacks.policy import CallbackPolicy
from ..jobs.callbacks.webhooks import Webhooks
from ..jobs.queue import Queues, open_queues
from ..observability.readiness import Readiness
from ..observability.traced_table import TracedTable
from ..state.account import DEVELOPMENT_STORAGE, Tables, open_tables
from ..state.clock import StorageClock
from ..state.lanes import Clock
from ..state.signing import STORAGE_SCOPE, SignIn
from .background import Timers, Workers, build_timers, build_workers
from .core import Core, build_core
from .web import Web, build_web, dependencies

NO_STORAGE = (
    f"AzureWebJobsStorage is not set: give it a connection string (locally {DEVELOPMENT_STORAGE}),"
    " or set AzureWebJobsStorage__tableServiceUri and AzureWebJobsStorage__queueServiceUri to"
    " sign in with the app's identity"
)


NO_IDENTITY = (
    "No identity was found for AZURE_CLIENT_ID: assign a managed identity, or run 'az login'"
)


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
        core = build_core(settings, traced, queues, foundry, clock)
        readiness = Readiness(dependencies(core))
        webhooks = Webhooks(settings.callbacks)
        deliveries = Deliveries(
            traced.state,
            core.jobs,
            queues,
            clock,
            callbacks=CallbackPolicy(settings.callbacks),
            webhooks=webhooks,
        )
        timers = build_timers(core, deliveries)
        return cls(
            core=core,
            web=build_web(core, timers, readiness),
            workers=build_workers(core, deliveries),
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


def _sign_in(settings: AppSettings) -> SignIn:
    storage = settings.storage
    if not (storage.table_service_uri and storage.queue_service_uri):
        raise SettingsError([NO_STORAGE])
    tokens = token_credential(settings.identity)
    if tokens is None:
        raise SettingsError([NO_IDENTITY])
    return SignIn(tokens, EntraCredential(tokens, STORAGE_SCOPE))
