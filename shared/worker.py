"""Adapts the app to the Functions worker in which it runs.

**Errors without text.** The Functions host logs a function's exception with its text and causes,
which may quote messages. So the app raises an exception that names only the function and the
error's class; the app's own log also has the traceback, without the text.

**Closing.** The Functions host ends a Python worker with SIGKILL, which cannot be handled: the
worker does not declare the capability for a graceful stop (`HandlesWorkerTerminateMessage`). The
app therefore regularly writes what is only in memory. Platforms that stop a container send SIGTERM,
which by default ends a Python process at once, without `atexit`; it is handled here.
https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/ProcessManagement/WorkerProcess.cs

**Every path.** The worker's HTTP server has one route, `/{path:path}`, which by default matches no
line break. A path with `%0A` would get the server's own 404 while the function waits for its
request until `functionTimeout`, and then the host restarts the worker.

**The first request.** Modules that only it needs are loaded after the app's import, while the host
indexes the functions and prepares the request. What is loaded then lives until the end, so the
garbage collector leaves it out: it would look through 100,000 objects again and again, and all
requests would wait for it, up to 0.1 s each time.

**No access log.** That server also writes the address of each request, with its query, to its
output, which the host adds to its log. The app's own log and its traces name no address.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from starlette.convertors import PathConvertor
from uvicorn.config import LOGGING_CONFIG

from .jobs.runner import UnrunnableError
from .observability.logs import described

log = logging.getLogger(__name__)

_Parameters = ParamSpec("_Parameters")

CLOSE_SECONDS = 8.0
"""A container is usually killed 10 s after SIGTERM."""

Step = Callable[[], Awaitable[None]]


class TriggerFailedError(Exception):
    """A queue or timer function failed; the host applies its own retry rules."""

    def __init__(self, function: str, error: Exception) -> None:
        subject = f" ({error})" if isinstance(error, UnrunnableError) else ""
        super().__init__(f"{function} failed: {type(error).__qualname__}{subject}")


def hide_error_text(
    function: Callable[_Parameters, Awaitable[None]],
) -> Callable[_Parameters, Awaitable[None]]:
    """Replace a function's exceptions with `TriggerFailedError`, which holds only names and ids."""

    @wraps(function)
    async def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            return await function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border: the host must not log its text
            failure = TriggerFailedError(function.__name__, error)
            log.error("%s\n%s", failure, described(error))  # noqa: TRY400 - without its text
        raise failure

    return run


def serve_every_path() -> None:
    """Let the worker's HTTP server pass on any path; the server starts after the app's import."""
    PathConvertor.regex = r"[\s\S]*"


def log_no_addresses() -> None:
    """Switch off the access log of the worker's HTTP server, which starts after the import."""
    LOGGING_CONFIG["loggers"]["uvicorn.access"]["handlers"] = []


def load_ahead(step: Callable[[], None]) -> None:
    """Run a step in a thread while the host prepares the first request.

    What is loaded afterwards is exempt from garbage collection. Does nothing outside a running
    event loop, as when the app is only indexed or inspected.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    loop.run_in_executor(None, step).add_done_callback(_exempt_from_collection)


def _exempt_from_collection(_: asyncio.Future[None]) -> None:
    gc.freeze()


def close_on_sigterm(*steps: Step) -> None:
    """On SIGTERM, run ``steps`` in order and then end the process.

    Does nothing outside a running event loop of the main thread. A host that installs its own
    handler, as the local host does, installs it later and replaces this one.
    """
    try:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, _begin, loop, steps)
    except (RuntimeError, ValueError, NotImplementedError):
        return


def _begin(loop: asyncio.AbstractEventLoop, steps: tuple[Step, ...]) -> None:
    loop.remove_signal_handler(signal.SIGTERM)  # a second one ends the process at once
    ending = loop.create_task(_end(steps))
    _ENDING.add(ending)


async def _end(steps: tuple[Step, ...]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            for step in steps:
                await step()
    except Exception:  # the border of a process: it must end in any case
        log.exception("The app could not be closed cleanly")
    finally:
        # The worker's HTTP server installs its own handlers and later restores the previous ones.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


_ENDING: set[asyncio.Task[None]] = set()
"""Keeps the tasks from the garbage collector."""
