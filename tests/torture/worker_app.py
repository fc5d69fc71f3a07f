"""The function app of a tortured worker: the product's queue and timer functions, disturbed."""

import os

import azure.functions as func

from shared.config import POISON_SUFFIX, AppSettings
from shared.jobs.intake import IntakeMessage
from tests.torture.instance import Disturbance, connect

STORAGE = "AzureWebJobsStorage"
EVERY_FIVE_SECONDS = "*/5 * * * * *"
"""More often than in production, to shorten the run."""

settings = AppSettings.from_env()
services = connect(
    settings,
    Disturbance(
        skew=float(os.environ["TORTURE_SKEW"]),
        copies=int(os.environ["TORTURE_COPIES"]),
        seed=int(os.environ["TORTURE_SEED"]),
    ),
)
app = func.FunctionApp()


@app.queue_trigger("msg", settings.jobs.intake_queue, STORAGE)
async def receive_job(msg: func.QueueMessage) -> None:
    await services.workers.intake.receive(IntakeMessage.of(msg))


@app.queue_trigger("msg", settings.jobs.intake_queue + POISON_SUFFIX, STORAGE)
async def fail_job(msg: func.QueueMessage) -> None:
    await services.workers.intake.receive_poison(IntakeMessage.of(msg))


@app.queue_trigger("msg", settings.jobs.lanes_queue, STORAGE)
async def run_lane(msg: func.QueueMessage) -> None:
    await services.workers.runner.receive(msg.get_body(), deliveries=msg.dequeue_count or 1)


@app.queue_trigger("msg", settings.jobs.lanes_queue + POISON_SUFFIX, STORAGE)
async def fail_lane(msg: func.QueueMessage) -> None:
    await services.workers.runner.receive_poison(msg.get_body())


@app.timer_trigger("timer", EVERY_FIVE_SECONDS, run_on_startup=False, use_monitor=False)
async def sweep_lanes(timer: func.TimerRequest) -> None:
    await services.timers.sweeper.sweep()


async def aclose() -> None:
    """Close all connections; the host calls it before it stops."""
    await services.aclose()
