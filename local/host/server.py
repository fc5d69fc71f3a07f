"""Starts the triggers of a function app, and stops them in an orderly way."""

import asyncio
import inspect
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import uvicorn
from azure.functions.queue import QueueMessage

from local.host.forwarding import SILENCE_SECONDS
from local.host.functions import (
    HTTP_TRIGGER,
    QUEUE_TRIGGER,
    TIMER_TRIGGER,
    Function,
    index_functions,
    is_disabled,
    load_app_module,
)
from local.host.invocation import Cause, Invoker
from local.host.queues import POISON_SUFFIX, MessageHandler, QueueListener
from local.host.routing import RouteTable
from local.host.settings import (
    HostConfigurationError,
    HostSettings,
    LocalSettings,
    QueueSettings,
    substitute_settings,
)
from local.host.storage import QueueAccounts
from local.host.timers import TimerListener
from local.host.web import HttpHost, KeyCheck, with_cors
from local.listening import listen

logger = logging.getLogger("local.host")

# Connections that may wait to be accepted; uvicorn's default.
LISTEN_BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections, so that none is closed while a client reuses it."""


@dataclass(frozen=True)
class HostOptions:
    """The options of the command line."""

    host: str
    port: int
    app_dir: Path
    grace_seconds: int
    """Time that running invocations have after a stop signal."""
    silence_seconds: float = SILENCE_SECONDS
    """Time without a byte of a request or its answer, after which the caller gets 504."""
    creates_queues: bool = False
    """Create the queues that triggers listen to, as a deployment does in Azure."""


class Listener(Protocol):
    """A trigger that is not HTTP."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set, then finish running work; on cancellation, abort it."""
        ...


async def serve(options: HostOptions, local: LocalSettings, settings: HostSettings) -> None:
    """Serve the app until SIGTERM or SIGINT.

    Raises HostConfigurationError where the app or its settings cannot be served.
    """
    listening = _listen(options.host, options.port)
    module = load_app_module(options.app_dir)
    functions = [each for each in index_functions(module) if not is_disabled(each, os.environ)]
    invoker = Invoker(settings.function_timeout)
    accounts = QueueAccounts(os.environ)
    try:
        routes = RouteTable(_with_trigger(functions, HTTP_TRIGGER), settings.route_prefix)
        queues = _queue_listeners(functions, invoker, accounts, settings.queues)
        if options.creates_queues:
            await asyncio.gather(*(queue.create() for queue in queues))
        timers = _timer_listeners(functions, invoker)
        listeners: list[Listener] = [*queues, *timers]
        web = with_cors(
            HttpHost(routes, KeyCheck(local), invoker, timers, options.silence_seconds), local
        )
        server = _WebServer(
            uvicorn.Config(
                web,
                lifespan="off",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                backlog=LISTEN_BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=options.grace_seconds,
            )
        )
        for route in routes.routes:
            methods = ",".join(sorted(route.methods))
            logger.info("Function %s: %s %s", route.function.name, methods, route.template)
        for route, before in routes.hidden():
            logger.warning(
                "Function %s can never be reached: the Functions host tries routes in the order of "
                "their functions' names, and %s comes first. Rename one of them.",
                route.function.name,
                " and ".join(each.function.name for each in before),
            )
        await _run_until_stopped(server, listening, listeners, options.grace_seconds)
    finally:
        invoker.close()
        await _close_app(module)
        await accounts.aclose()
    logger.info("Stopped")


class _WebServer(uvicorn.Server):
    """uvicorn without signal handling of its own: the host stops all its triggers together."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Let the host handle the signals."""
        yield


async def _run_until_stopped(
    server: uvicorn.Server,
    listening: socket.socket,
    listeners: Iterable[Listener],
    grace_seconds: int,
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(listener.run(stopping)) for listener in listeners]
    tasks.append(asyncio.create_task(server.serve(sockets=[listening])))
    stop_asked = asyncio.create_task(stopping.wait())
    host, port = listening.getsockname()[:2]
    logger.info("Listening on http://%s:%s", host, port)
    # A task that ends early has failed: stop the others and raise its error.
    await asyncio.wait([stop_asked, *tasks], return_when=asyncio.FIRST_COMPLETED)
    logger.info("Stopping; running invocations have %s s to finish", grace_seconds)
    stopping.set()
    server.should_exit = True
    # uvicorn cancels its own requests after the grace period and then ends by itself.
    _, late = await asyncio.wait(tasks, timeout=grace_seconds)
    for task in late:
        if task is not tasks[-1]:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def _queue_listeners(
    functions: list[Function], invoker: Invoker, accounts: QueueAccounts, settings: QueueSettings
) -> list[QueueListener]:
    listeners: list[QueueListener] = []
    for function in _with_trigger(functions, QUEUE_TRIGGER):
        service = accounts.service(str(function.trigger["connection"]))
        name = substitute_settings(str(function.trigger["queueName"]), os.environ)
        is_poison = name.endswith(POISON_SUFFIX)
        listeners.append(
            QueueListener(
                service.get_queue_client(name),
                None if is_poison else service.get_queue_client(name + POISON_SUFFIX),
                _message_handler(function, invoker, name),
                settings,
            )
        )
        logger.info("Function %s: queue %s", function.name, name)
    return listeners


def _message_handler(function: Function, invoker: Invoker, queue_name: str) -> MessageHandler:
    async def handle(message: QueueMessage) -> None:
        cause = Cause(f"message {message.id} of queue {queue_name}")
        await invoker.invoke(function, message, cause)

    return handle


def _timer_listeners(functions: list[Function], invoker: Invoker) -> list[TimerListener]:
    timers = _with_trigger(functions, TIMER_TRIGGER)
    for function in timers:
        logger.info("Function %s: timer %s", function.name, function.trigger["schedule"])
    return [TimerListener(function, invoker, os.environ) for function in timers]


def _with_trigger(functions: list[Function], trigger_type: str) -> list[Function]:
    return [function for function in functions if function.trigger_type == trigger_type]


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port, LISTEN_BACKLOG)
    except OSError as error:
        raise HostConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}."
        ) from error


async def _close_app(module: ModuleType) -> None:
    """Await the app's module-level `aclose`, where it has one."""
    aclose = getattr(module, "aclose", None)
    if inspect.iscoroutinefunction(aclose):
        await cast("Callable[[], Awaitable[None]]", aclose)()
