"""The table of contents: every trigger of the app and what it calls.

The Functions host tries routes in the order of their functions' names and takes the first that
fits: two functions may not fit one address, and the catch-all's name sorts behind all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

import azure.functions as func
import azurefunctions.extensions.http.fastapi as _  # noqa: F401 - its import turns streaming on
from starlette.requests import Request
from starlette.responses import Response

from shared.api import audit, jobs, messages, metrics, operations, orchestrate, threads, usage
from shared.api import me as erasure
from shared.app import Services
from shared.audit.trail import Action
from shared.config import POISON_SUFFIX, AppSettings
from shared.http.request_span import name_route
from shared.http.routes import RouteTable
from shared.http.serve import serve, serve_anybody
from shared.jobs.intake import IntakeMessage
from shared.observability.export import flush_telemetry, start_telemetry
from shared.process_end import close_on_sigterm
from shared.triggers import hide_error_text

HttpFunction = Callable[[Request], Awaitable[Response]]

STORAGE = "AzureWebJobsStorage"
EVERY_MINUTE = "0 * * * * *"
EVERY_FIVE_MINUTES = "20 */5 * * * *"
EVERY_HOUR = "40 15 * * * *"
AFTER_EACH_HOUR = "10 45 * * * *"
"""When turns that began in it are over, which may take half an hour."""
PREFIX = "/api"
"""As routePrefix in host.json."""

EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OPEN = func.AuthLevel.ANONYMOUS

services = Services.connect(AppSettings.from_env())
start_telemetry(
    services.settings.telemetry, record_content=services.settings.storage.record_content
)
KEY = func.AuthLevel.FUNCTION if services.settings.access.mode.asks_for_key else OPEN
routes = RouteTable()
app = func.FunctionApp(http_auth_level=KEY)


def route(
    method: str, template: str, auth: func.AuthLevel = KEY
) -> Callable[[HttpFunction], object]:
    """Register an HTTP function with its route, which spans bear and the catch-all looks at."""
    methods = ["GET", "HEAD"] if method == "GET" else [method]
    for each in methods:
        routes.add(each, template)
    register = app.route(route=template, methods=methods, auth_level=auth)

    def registered(function: HttpFunction) -> object:
        @wraps(function)
        async def answer(req: Request) -> Response:
            name_route(req, f"{PREFIX}/{template}")
            return await function(req)

        return register(answer)

    return registered


@route("DELETE", "me/data")
async def erase_my_data(req: Request) -> Response:
    return await serve(services, req, erasure.erase, Action.DATA_ERASE)


@route("POST", "messages")
async def send_message(req: Request) -> Response:
    return await serve(services, req, messages.send, Action.SEND)


@route("POST", "threads")
async def create_thread(req: Request) -> Response:
    return await serve(services, req, threads.create, Action.THREAD_CREATE)


@route("GET", "threads")
async def list_threads(req: Request) -> Response:
    return await serve(services, req, threads.list_, Action.THREAD_READ)


@route("GET", "threads/{thread_id}")
async def get_thread(req: Request) -> Response:
    return await serve(services, req, threads.get, Action.THREAD_READ)


@route("PATCH", "threads/{thread_id}")
async def patch_thread(req: Request) -> Response:
    return await serve(services, req, threads.patch, Action.THREAD_CHANGE)


@route("DELETE", "threads/{thread_id}")
async def delete_thread(req: Request) -> Response:
    return await serve(services, req, threads.delete, Action.THREAD_DELETE)


@route("GET", "threads/{thread_id}/messages")
async def list_thread_messages(req: Request) -> Response:
    return await serve(services, req, threads.list_messages, Action.THREAD_READ)


@route("POST", "threads/{thread_id}/messages")
async def send_thread_message(req: Request) -> Response:
    return await serve(services, req, threads.send_message, Action.SEND)


@route("POST", "jobs")
async def submit_job(req: Request) -> Response:
    return await serve(services, req, jobs.submit, Action.JOB_SUBMIT)


@route("GET", "jobs")
async def list_jobs(req: Request) -> Response:
    return await serve(services, req, jobs.list_, Action.JOB_READ)


@route("POST", "jobs/{job_id}/cancel")
async def cancel_job(req: Request) -> Response:
    return await serve(services, req, jobs.cancel, Action.JOB_CANCEL)


@route("GET", "jobs/{job_id}")
async def get_job(req: Request) -> Response:
    return await serve(services, req, jobs.get, Action.JOB_READ)


@route("POST", "orchestrate")
async def orchestrate_message(req: Request) -> Response:
    return await serve(services, req, orchestrate.send, Action.SEND)


@route("GET", "health", OPEN)
async def health(req: Request) -> Response:
    return await serve_anybody(services, req, operations.health)


@route("GET", "health/ready")
async def readiness(req: Request) -> Response:
    return await serve(services, req, operations.ready)


@route("GET", "metrics")
async def read_metrics(req: Request) -> Response:
    return await serve(services, req, metrics.show, Action.FIGURES_READ)


@route("GET", "usage")
async def read_usage(req: Request) -> Response:
    return await serve(services, req, usage.show, Action.FIGURES_READ)


@route("GET", "metrics/prometheus")
async def prometheus(req: Request) -> Response:
    return await serve(services, req, operations.prometheus)


@route("GET", "audit")
async def list_audit_records(req: Request) -> Response:
    return await serve(services, req, audit.list_, Action.AUDIT_READ)


@app.route(route="{*path}", methods=EVERY_METHOD, auth_level=OPEN)
async def z_unmatched_sorts_last(req: Request) -> Response:
    return await serve_anybody(services, req, routes.unmatched)


@app.queue_trigger("msg", services.settings.jobs.intake_queue, STORAGE)
@hide_error_text
async def receive_job(msg: func.QueueMessage) -> None:
    await services.inlet.receive(IntakeMessage.of(msg))


@app.queue_trigger("msg", services.settings.jobs.intake_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_job(msg: func.QueueMessage) -> None:
    await services.inlet.receive_poison(IntakeMessage.of(msg))


@app.queue_trigger("msg", services.settings.jobs.lanes_queue, STORAGE)
@hide_error_text
async def run_lane(msg: func.QueueMessage) -> None:
    await services.runner.receive(msg.get_body(), deliveries=msg.dequeue_count or 1)


@app.queue_trigger("msg", services.settings.jobs.lanes_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_lane(msg: func.QueueMessage) -> None:
    await services.runner.receive_poison(msg.get_body())


@app.queue_trigger("msg", services.settings.outlets.deliveries_queue, STORAGE)
@hide_error_text
async def deliver_result(msg: func.QueueMessage) -> None:
    await services.deliveries.receive(msg.get_body())


@app.queue_trigger("msg", services.settings.outlets.deliveries_queue + POISON_SUFFIX, STORAGE)
@hide_error_text
async def fail_delivery(msg: func.QueueMessage) -> None:
    await services.deliveries.receive_poison(msg.get_body())


@app.timer_trigger("timer", EVERY_MINUTE, run_on_startup=False, use_monitor=False)
@hide_error_text
async def sweep_lanes(timer: func.TimerRequest) -> None:
    await services.sweeper.sweep()


@app.timer_trigger("timer", EVERY_FIVE_MINUTES, run_on_startup=False, use_monitor=False)
@hide_error_text
async def sweep_deliveries(timer: func.TimerRequest) -> None:
    await services.deliveries.sweep()


@app.timer_trigger("timer", EVERY_MINUTE, run_on_startup=False, use_monitor=False)
@hide_error_text
async def expire_threads(timer: func.TimerRequest) -> None:
    await services.removal.expire()
    await services.erasures.sweep()


@app.timer_trigger("timer", EVERY_HOUR, run_on_startup=False, use_monitor=False)
@hide_error_text
async def delete_old_records(timer: func.TimerRequest) -> None:
    await services.delete_old_records()


@app.timer_trigger("timer", AFTER_EACH_HOUR, run_on_startup=False, use_monitor=False)
@hide_error_text
async def roll_up_metrics(timer: func.TimerRequest) -> None:
    await services.roll_up.run()


async def aclose() -> None:
    """Let running turns end and close all connections; the host calls it before it stops."""
    await services.aclose()
    await flush_telemetry()


close_on_sigterm(services.save, flush_telemetry, aclose)
