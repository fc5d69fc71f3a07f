"""The table of contents: every trigger of the app and what it calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import azure.functions as func
import azurefunctions.extensions.http.fastapi as _  # noqa: F401 - its import turns streaming on
from starlette.requests import Request
from starlette.responses import Response

from shared.api import jobs, messages, operations, threads
from shared.api.border import serve
from shared.api.routes import RouteTable
from shared.config import AppSettings
from shared.jobs.inlet import InletMessage
from shared.jobs.queue import POISON_SUFFIX
from shared.services import Services

HttpFunction = Callable[[Request], Awaitable[Response]]

STORAGE = "AzureWebJobsStorage"
EVERY_MINUTE = "0 * * * * *"
EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
KEY, OPEN = func.AuthLevel.FUNCTION, func.AuthLevel.ANONYMOUS

services = Services.connect(AppSettings.from_env())
routes = RouteTable()
app = func.FunctionApp(http_auth_level=KEY)


def route(
    method: str, template: str, auth: func.AuthLevel = KEY
) -> Callable[[HttpFunction], object]:
    """Register an HTTP function, and its route for the answer to those that match none."""
    routes.add(method, template)
    return app.route(route=template, methods=[method], auth_level=auth)


@route("POST", "messages")
async def send_message(req: Request) -> Response:
    return await serve(services, req, messages.send)


@route("POST", "threads")
async def create_thread(req: Request) -> Response:
    return await serve(services, req, threads.create)


@route("GET", "threads")
async def list_threads(req: Request) -> Response:
    return await serve(services, req, threads.list_)


@route("GET", "threads/{thread_id}")
async def get_thread(req: Request) -> Response:
    return await serve(services, req, threads.get)


@route("PATCH", "threads/{thread_id}")
async def patch_thread(req: Request) -> Response:
    return await serve(services, req, threads.patch)


@route("DELETE", "threads/{thread_id}")
async def delete_thread(req: Request) -> Response:
    return await serve(services, req, threads.delete)


@route("GET", "threads/{thread_id}/messages")
async def list_thread_messages(req: Request) -> Response:
    return await serve(services, req, threads.list_messages)


@route("POST", "threads/{thread_id}/messages")
async def send_thread_message(req: Request) -> Response:
    return await serve(services, req, threads.send_message)


@route("POST", "jobs")
async def submit_job(req: Request) -> Response:
    return await serve(services, req, jobs.submit)


@route("GET", "jobs")
async def list_jobs(req: Request) -> Response:
    return await serve(services, req, jobs.list_)


@route("POST", "jobs/{job_id}/cancel")
async def cancel_job(req: Request) -> Response:
    return await serve(services, req, jobs.cancel)


@route("GET", "jobs/{job_id}")
async def get_job(req: Request) -> Response:
    return await serve(services, req, jobs.get)


@route("GET", "health", OPEN)
async def health(req: Request) -> Response:
    return await serve(services, req, operations.health)


@route("GET", "metrics")
async def metrics(req: Request) -> Response:
    return await serve(services, req, operations.metrics)


@app.route(route="{*path}", methods=EVERY_METHOD, auth_level=OPEN)
async def unmatched(req: Request) -> Response:
    return await serve(services, req, routes.unmatched)


@app.queue_trigger("msg", services.settings.jobs.inlet_queue, STORAGE)
async def receive_job(msg: func.QueueMessage) -> None:
    await services.inlet.receive(InletMessage.of(msg))


@app.queue_trigger("msg", services.settings.jobs.lanes_queue, STORAGE)
async def run_lane(msg: func.QueueMessage) -> None:
    await services.runner.receive(msg.get_body())


@app.queue_trigger("msg", services.settings.jobs.lanes_queue + POISON_SUFFIX, STORAGE)
async def fail_lane(msg: func.QueueMessage) -> None:
    await services.runner.receive_poison(msg.get_body())


@app.timer_trigger("timer", EVERY_MINUTE, run_on_startup=False, use_monitor=False)
async def sweep_lanes(timer: func.TimerRequest) -> None:
    await services.sweeper.sweep()


async def aclose() -> None:
    """Let running turns end and close all connections; the host calls it before it stops."""
    await services.aclose()
