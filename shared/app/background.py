"""The parts that run without a caller: queue workers and timers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..jobs.callbacks.delivery import Deliveries
from ..jobs.intake import Intake
from ..jobs.runner import Runner
from ..jobs.sweep import Sweeper
from ..metering.budgets.account import remove_past_rows
from ..metering.roll_up import RollUp
from ..state.days import DayIndex
from ..threads.erasure import Erasures, Stores
from ..threads.removal import Removal
from ..threads.retention import Retention
from .core import Core


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


def build_workers(core: Core, deliveries: Deliveries) -> Workers:
    """Build what the queue triggers call."""
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


def build_timers(core: Core, deliveries: Deliveries) -> Timers:
    """Build what the timer triggers call."""
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
