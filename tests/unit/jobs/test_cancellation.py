"""Cancelling a job: once, also by two callers at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from shared.app import Services
from shared.config import AppSettings, CallbackSettings
from shared.jobs.cancellation import Cancellation
from shared.jobs.requests import SubmitJob
from shared.metering.gauges import Gauges
from shared.state.jobs import Job, Jobs, JobStatus
from tests.support.app_on_fakes import OWNER, App


def cancellation(app: App, services: Services, jobs: Jobs) -> Cancellation:
    return Cancellation(jobs, app.table, services.core.queues, app.clock)


@dataclass
class Overtaken:
    """The jobs as an instance sees them that is overtaken right after it has read one."""

    jobs: Jobs
    other: Cancellation
    finished: Job | None = None

    async def get(self, owner: str, job_id: str) -> Job:
        job = await self.jobs.get(owner, job_id)
        self.finished = await self.other.cancel(owner, job_id)
        return job

    async def cancel(self, owner: str, job_id: str, also: object) -> Job:
        return await self.jobs.cancel(owner, job_id)


async def test_of_two_cancellations_at_once_one_ends_the_job(app: App) -> None:
    app.settings = AppSettings(
        foundry=app.settings.foundry, callbacks=CallbackSettings(reply_queues="replies")
    )
    services = app.services()
    jobs = services.core.jobs
    job = await services.core.submission.submit(
        OWNER, SubmitJob(messages=["Hi"], reply_queue="replies")
    )
    overtaken = Overtaken(jobs, cancellation(app, services, jobs))
    late = cancellation(app, services, overtaken)  # pyright: ignore[reportArgumentType]
    cancelled = await late.cancel(OWNER, job.job_id)
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled == overtaken.finished
    assert len(app.table.rows(OWNER, "out:")) == 1
    assert len(app.queues.notices) == 1


async def test_a_cancelled_job_is_not_counted_as_waiting(app: App) -> None:
    services = app.services()
    gauges = Gauges(app.table, app.clock)
    job, _ = [
        await services.core.submission.submit(OWNER, SubmitJob(messages=["Hi"])) for _ in range(2)
    ]
    assert (await gauges.of(OWNER)).jobs_waiting == 2
    await cancellation(app, services, services.core.jobs).cancel(OWNER, job.job_id)
    assert (await gauges.of(OWNER)).jobs_waiting == 1
