"""The table of contents: every trigger of the app and what it calls.

The Functions host tries routes in the order of their function names and uses the first match.
So no two functions may match the same address, and the catch-all's name must sort last.
"""

from __future__ import annotations

import azure.functions as func
import azurefunctions.extensions.http.fastapi as _  # noqa: F401 - its import turns streaming on
from starlette.requests import Request
from starlette.responses import Response

from shared.app import Services
from shared.config import POISON_SUFFIX, AppSettings
from shared.http.serve import serve_open
from shared.jobs.intake import IntakeMessage
from shared.observability.export import flush_telemetry, start_telemetry
from shared.outbound import warm_up
from shared.routes import BASE, ROUTES, Route, Unmatched
from shared.worker import (
    close_on_sigterm,
    hide_error_text,
    load_ahead,
    log_no_addresses,
    serve_every_path,
)

STORAGE = "AzureWebJobsStorage"
EVERY_MINUTE = "0 * * * * *"
EVERY_FIVE_MINUTES = "20 */5 * * * *"
EVERY_HOUR = "40 15 * * * *"
AFTER_EACH_HOUR = "10 45 * * * *"
"""45 minutes past each hour: by then the hour's turns, of up to 30 minutes, have ended."""

EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OPEN = func.AuthLevel.ANONYMOUS

serve_every_path()
log_no_addresses()
settings = AppSettings.from_env()
services = Services.connect(settings)
start_telemetry(settings.telemetry, record_content=settings.storage.record_content)
KEY = func.AuthLevel.FUNCTION if settings.access.mode.asks_for_key else OPEN
unmatched = Unmatched((method, route.template) for route in ROUTES for method in route.methods)
app = func.FunctionApp(http_auth_level=KEY)


def register(route: Route) -> None:
    """Register a route of the table as a function."""

    @app.function_name(route.name)
    @app.route(route.template, methods=route.methods, auth_level=OPEN if route.is_open else KEY)
    async def answer(req: Request) -> Response:
        return await route.answer(services.web.edge, services.web.api, req)


for each in ROUTES:
    register(each)


@app.route(route=BASE + "{*path}", methods=EVERY_METHOD, auth_level=OPEN)
async def z_unmatched_sorts_last(req: Request) -> Response:
    return await serve_open(req, unmatched.answer, query=None)


@app.queue_trigger("msg", settings.jobs.intake_queue, STORAGE)
@hide_error_text
async def receive_job(msg: func.QueueMessage) -> None:
    await services.workers.intake.receive(IntakeMessage.of(msg))


@app.queue_trigger("msg", settings.jobs.intake_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_job(msg: func.QueueMessage) -> None:
    await services.workers.intake.receive_poison(IntakeMessage.of(msg))


@app.queue_trigger("msg", settings.jobs.lanes_queue, STORAGE)
@hide_error_text
async def run_lane(msg: func.QueueMessage) -> None:
    await services.workers.runner.receive(msg.get_body(), deliveries=msg.dequeue_count or 1)


@app.queue_trigger("msg", settings.jobs.lanes_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_lane(msg: func.QueueMessage) -> None:
    await services.workers.runner.receive_poison(msg.get_body())


@app.queue_trigger("msg", settings.callbacks.deliveries_queue, STORAGE)
@hide_error_text
async def deliver_result(msg: func.QueueMessage) -> None:
    await services.workers.deliveries.receive(msg.get_body())


@app.queue_trigger("msg", settings.callbacks.deliveries_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_delivery(msg: func.QueueMessage) -> None:
    await services.workers.deliveries.receive_poison(msg.get_body())


@app.timer_trigger("timer", EVERY_MINUTE, run_on_startup=False, use_monitor=False)
@hide_error_text
async def sweep_lanes(timer: func.TimerRequest) -> None:
    await services.timers.sweeper.sweep()


@app.timer_trigger("timer", EVERY_FIVE_MINUTES, run_on_startup=False, use_monitor=False)
@hide_error_text
async def sweep_deliveries(timer: func.TimerRequest) -> None:
    await services.timers.deliveries.sweep()


@app.timer_trigger("timer", EVERY_MINUTE, run_on_startup=False, use_monitor=False)
@hide_error_text
async def expire_threads(timer: func.TimerRequest) -> None:
    await services.timers.removal.expire()
    await services.timers.erasures.sweep()


@app.timer_trigger("timer", EVERY_HOUR, run_on_startup=False, use_monitor=False)
@hide_error_text
async def delete_old_records(timer: func.TimerRequest) -> None:
    await services.timers.delete_old_records()


@app.timer_trigger("timer", AFTER_EACH_HOUR, run_on_startup=False, use_monitor=False)
@hide_error_text
async def roll_up_metrics(timer: func.TimerRequest) -> None:
    await services.timers.roll_up.run()


async def aclose() -> None:
    """Wait for running turns and close all connections; the host calls it before it stops."""
    await services.aclose()
    await flush_telemetry()


close_on_sigterm(services.save, flush_telemetry, aclose)
load_ahead(warm_up)
